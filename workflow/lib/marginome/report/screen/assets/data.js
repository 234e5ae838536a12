/* What the page was given: the table and the matrices, unpacked, and how a value of a row is read. */

const $ = (id) => document.getElementById(id);
const meta = JSON.parse($('meta').textContent);

async function unpack(id, directory) {
  const text = $(id).textContent;
  let bytes;
  if (Uint8Array.fromBase64) {
    bytes = Uint8Array.fromBase64(text);
  } else {
    const raw = atob(text);
    bytes = new Uint8Array(raw.length);
    for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  }
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream('deflate'));
  const block = new Uint8Array(await new Response(stream).arrayBuffer());
  const types = { f4: Float32Array, i2: Int16Array, u1: Uint8Array, u2: Uint16Array, u4: Uint32Array };
  const arrays = {};
  for (const [name, { kind, offset, count }] of Object.entries(directory)) {
    const Type = types[kind];
    const size = Type.BYTES_PER_ELEMENT;
    const out = new Uint8Array(count * size);
    for (let plane = 0; plane < size; plane++) {
      const start = offset + plane * count;
      for (let i = 0; i < count; i++) out[i * size + plane] = block[start + i];
    }
    arrays[name] = new Type(out.buffer);
  }
  return arrays;
}

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
