/* Which rows are shown and in which order. */

const filterLevels = (name) => {
  const column = columns.get(name);
  if (!column) return [];
  if (column.kind === 'text') return column.levels.map((v) => v ?? '');
  return [...new Set(column.data)]
    .filter((v) => v === v)
    .sort((a, b) => a - b)
    .map(String);
};
const haystack = (() => {
  // searched per insert, not per row: there are as many rows per insert as outputs x backgrounds
  const fields = [
    ...['motif_name', 'motif_id', 'collection', 'insert', 'partner_id'],
    ...['sequence_id', 'match_id'], // of elements
  ].filter(has);
  return Array.from({ length: rowsOfInsert.groups }, (_, g) => {
    const row = rowsOfInsert(g)[0];
    return fields
      .map((f) => show(f, row))
      .join('\n')
      .toLowerCase();
  });
})();
const orders = new Map(); // one sorted order of all rows per column: filtering only walks along it

function order() {
  const key = `${state.sort} ${state.dir}`;
  if (orders.has(key)) return orders.get(key);
  const column = columns.get(state.sort);
  let keys = column.data;
  if (column.kind === 'text') {
    const collator = new Intl.Collator('en', { numeric: true, sensitivity: 'base' });
    const ranked = column.levels.map((v, i) => [v ?? '\uffff', i]).sort((a, b) => collator.compare(a[0], b[0]));
    const rank = new Float32Array(ranked.length);
    ranked.forEach(([, i], r) => {
      rank[i] = r;
    });
    keys = Float32Array.from(column.data, (c) => rank[c]);
  } else if (state.dir === 'size') keys = column.data.map(Math.abs);
  const rows = new Uint32Array(N);
  let known = 0,
    unknown = N;
  for (let i = 0; i < N; i++)
    if (keys[i] === keys[i]) rows[known++] = i;
    else rows[--unknown] = i;
  const down = state.dir !== 'asc';
  rows.subarray(0, known).sort(down ? (a, b) => keys[b] - keys[a] || a - b : (a, b) => keys[a] - keys[b] || a - b);
  orders.set(key, rows);
  return rows;
}

let view = new Uint32Array(0); // row numbers shown, in order

function matcher(skip = '') {
  // -> test of one row against every filter but `skip`
  const tests = [];
  for (const name of FILTERS) {
    if (state[name] === '' || name === skip || !has(name)) continue;
    const column = columns.get(name);
    const target =
      column.kind === 'text' ? column.levels.findIndex((v) => (v ?? '') === state[name]) : Number(state[name]);
    tests.push([column.data, target]);
  }
  const q = state.q === null || !given('q') ? null : Math.log10(state.q);
  const qs = columns.get('q')?.data;
  let hits = null;
  const words = state.search.toLowerCase().split(/\s+/).filter(Boolean);
  if (words.length) {
    hits = new Uint8Array(haystack.length);
    for (let g = 0; g < hits.length; g++) hits[g] = words.every((w) => haystack[g].includes(w)) ? 1 : 0;
  }
  const reps = state.reps && has('family_representative');
  const representative = columns.get('family_representative'),
    motif = columns.get('motif_id');
  const same = reps ? representative.levels.map((v) => motif.levels.indexOf(v)) : [];
  return (row) => {
    for (let t = 0; t < tests.length; t++) if (tests[t][0][row] !== tests[t][1]) return false;
    if (hits && !hits[insertOf[row]]) return false;
    if (q !== null && !(qs[row] <= q + 1e-6)) return false;
    if (reps && same[representative.data[row]] !== motif.data[row]) return false;
    return true;
  };
}

function filter() {
  const rows = order(),
    test = matcher(),
    out = new Uint32Array(N);
  let k = 0;
  for (let i = 0; i < N; i++) if (test(rows[i])) out[k++] = rows[i];
  view = out.subarray(0, k);
}

const varies = (name) =>
  has(name) &&
  (name !== 'start' || meta.positions) &&
  (columns.get(name).kind === 'text' ? levels(name).length > 1 : filterLevels(name).length > 1);
const isHidden = (row) => row >= 0 && !matcher()(row);
const familyNames = new Map();

function familyName(v) {
  if (!familyNames.size && has('family')) {
    const members = new Map();
    for (let g = 0; g < rowsOfMotif.groups; g++) {
      const row = rowsOfMotif(g)[0],
        f = show('family', row);
      if (!members.has(f)) members.set(f, []);
      members.get(f).push(row);
    }
    for (const [f, rows] of members) {
      const lead = rows.find((r) => show('motif_id', r) === show('family_representative', r)) ?? rows[0];
      familyNames.set(f, `${rowName(lead)}${rows.length > 1 ? ` and ${rows.length - 1} more` : ''}`);
    }
  }
  return familyNames.get(signs(v)) ?? familyNames.get(v) ?? v;
}

/** The row to look at under new filters: the same, else the same insert, else the same motif, else the first. */
function stillShown(row) {
  if (row < 0 || !view.length) return view.length ? view[0] : row;
  if (!isHidden(row)) return row;
  const test = matcher(),
    like = (rows) => Array.from(rows).find((r) => test(r));
  return like(rowsOfInsert(insertOf[row])) ?? like(rowsOfMotif(motifOf[row])) ?? view[0];
}
