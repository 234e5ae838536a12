/* What is looked at: filters, order, figure, chosen row; kept in the address, so that a link restores the view. */

const LOCI = meta.loci; // of an attribution entry: where its rows, the elements, were found
const FILTERS = ['model', 'output', 'background', 'orientation', 'family', ...(LOCI ? ['collection'] : [])];
const START = {
  search: '',
  q: null,
  reps: false,
  sort: given('effect') ? 'effect' : 'attribution',
  dir: 'desc',
  tab: LOCI ? 'locus' : 'rank',
  locus: -1,
  from: 0, // of the locus, what is in sight
  to: 0,
  colour: '',
  pair: '',
  two: '', // the pair of motifs whose curves are shown
  row: -1,
};
const initial = {};
for (const name of FILTERS) initial[name] = '';
if (levels('output').length > 1) initial.output = levels('output')[0];
if (levels('background').length > 1) initial.background = levels('background')[0];
if (levels('model').length > 1) initial.model = levels('model')[0];
const state = { ...START, ...initial };
const threshold = () => state.q ?? meta.q_threshold;
const KEY = meta.keys.filter(
  (name) =>
    has(name) &&
    (name === 'motif_id' ||
      name === 'orientation' ||
      (columns.get(name).kind === 'text'
        ? levels(name).length > 1
        : columns.get(name).data.some((v) => v !== columns.get(name).data[0] && v === v))),
);

function writeHash() {
  const out = new URLSearchParams();
  for (const name of FILTERS) if (state[name] !== initial[name]) out.set(name, state[name]);
  if (state.search) out.set('search', state.search);
  if (state.q !== null) out.set('q', state.q);
  if (state.reps) out.set('reps', '1');
  if (state.sort !== START.sort || state.dir !== START.dir) out.set('sort', `${state.sort} ${state.dir}`);
  if (state.tab !== START.tab) out.set('figure', state.tab);
  if (state.locus >= 0) {
    out.set('locus', LOCI.ids[state.locus]);
    out.set('bp', `${state.from}-${state.to}`);
  }
  if (state.colour) out.set('colour', state.colour);
  if (state.pair) out.set('pair', state.pair);
  if (state.two) out.set('two', state.two);
  if (state.row >= 0) for (const name of KEY) out.set(`row.${name}`, exact(name, state.row));
  const hash = '#' + out;
  if (hash !== location.hash) history.replaceState(null, '', hash);
}

function readHash() {
  const asked = new URLSearchParams(location.hash.slice(1));
  Object.assign(state, START, initial);
  for (const name of FILTERS) {
    const wanted = asked.get(name);
    if (wanted !== null && (wanted === '' || filterLevels(name).includes(wanted))) state[name] = wanted;
  }
  state.search = asked.get('search') ?? '';
  const q = parseFloat(asked.get('q'));
  state.q = q >= 0 && q <= 1 ? q : null;
  state.reps = asked.get('reps') === '1';
  const [sort, dir] = (asked.get('sort') ?? `${START.sort} ${START.dir}`).split(' ');
  if (has(sort)) Object.assign(state, { sort, dir: ['asc', 'desc', 'size'].includes(dir) ? dir : 'desc' });
  state.tab = TABS.some(([id]) => id === asked.get('figure')) ? asked.get('figure') : START.tab;
  if (LOCI) {
    state.locus = LOCI.ids.indexOf(asked.get('locus'));
    lookAt(...(asked.get('bp') ?? `0-${LOCI.length}`).split('-').map(Number));
  }
  state.colour = asked.get('colour') ?? '';
  state.pair = asked.get('pair') ?? '';
  state.two = asked.get('two') ?? '';
  if (asked.has('row.motif_id')) {
    const tests = KEY.filter((name) => asked.has(`row.${name}`)).map((name) => {
      const wanted = asked.get(`row.${name}`),
        column = columns.get(name);
      const target =
        column.kind === 'text'
          ? column.levels.findIndex((v) => (v ?? '').replace(/[\t\r\n]/g, ' ') === wanted)
          : wanted === ''
            ? NaN
            : Number(wanted);
      return [column.data, target];
    });
    for (let row = 0; row < N; row++) {
      if (tests.every(([data, target]) => data[row] === target || (target !== target && data[row] !== data[row]))) {
        state.row = row;
        break;
      }
    }
  }
}
