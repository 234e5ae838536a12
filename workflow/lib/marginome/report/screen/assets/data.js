/* The table and the matrices that the page was given, and how a value of a row is read. */

const arrays = await unpack('table-data', meta.arrays);
const columns = new Map(meta.columns.map((c) => [c.name, { ...c, data: arrays[c.name] }]));
const has = (name) => columns.has(name);
const N = arrays['#insert'].length;
const insertOf = arrays['#insert'],
  siteOf = arrays['#site'],
  motifOf = arrays['#motif'];
const number = (name, row) => {
  const c = columns.get(name);
  return c ? c.data[row] : NaN;
};
const code = (name, row) => {
  const c = columns.get(name);
  return c ? c.data[row] : 0;
};
const levels = (name) => columns.get(name)?.levels ?? [];
const known = new Map(); // whether a column has any value at all
const given = (name) => {
  const c = columns.get(name);
  if (!known.has(name))
    known.set(name, !!c && (c.kind === 'text' ? c.levels.some((v) => v !== null) : c.data.some((v) => v === v)));
  return known.get(name);
};

/** Rows grouped by a code: rowsOf(code) is a view of row numbers. */
function grouped(codes) {
  let groups = 0;
  for (const c of codes) if (c >= groups) groups = c + 1;
  const start = new Uint32Array(groups + 1);
  for (const c of codes) start[c + 1]++;
  for (let g = 0; g < groups; g++) start[g + 1] += start[g];
  const rows = new Uint32Array(codes.length),
    next = start.slice();
  for (let i = 0; i < codes.length; i++) rows[next[codes[i]]++] = i;
  const of = (g) => rows.subarray(start[g], start[g + 1]);
  of.groups = groups;
  return of;
}

const rowsOfInsert = grouped(insertOf),
  rowsOfMotif = grouped(motifOf);
const pwmStart = [0];
for (const w of meta.pwm_widths) pwmStart.push(pwmStart.at(-1) + 4 * w);
const pwmOf = (motif) => ({
  width: meta.pwm_widths[motif],
  p: arrays['#pwm'].subarray(pwmStart[motif], pwmStart[motif + 1]),
});
