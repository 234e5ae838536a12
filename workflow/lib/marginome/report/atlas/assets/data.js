/* Families by models: effects and q unpacked, what is looked at, and in which order. */

const block = await unpack('atlas-data', meta.arrays);
const F = meta.families.length,
  M = meta.models.length;
const labelNames = Object.keys(meta.labels);
const START = { motif: '', model: '', output: 0, label: labelNames[0] ?? '', order: 'cluster', found: true };
const state = { ...START, family: -1, chosen: -1, window: null };

const outputs = meta.outputs.map((output, k) => ({
  ...output,
  effects: block[`effect${k}`],
  qs: block[`q${k}`],
  insertOf: block[`insert${k}`],
  families: block[`families${k}`],
  models: block[`models${k}`],
}));
const shownOutput = () => outputs[state.output];
const effectOf = (f, m, o = shownOutput()) => {
  const v = o.effects[f * M + m];
  return v === -32768 ? NaN : (v / 32766) * o.most;
};
const levelOf = (f, m, o = shownOutput()) => o.qs[f * M + m];
const isFound = (level) => level >= 127 && level < 255;
const labelOf = (label, m) => {
  const { codes, levels } = meta.labels[label];
  return codes[m] < 0 ? '' : levels[codes[m]];
};

/** q in words: kept in steps of a thirtieth of a power of ten. */
function qText(level) {
  if (level === 255) return '';
  const step = isFound(level) ? level - 127 : level;
  if (step === 126) return `q below ${formatLog(-126 / 30)}`;
  const at = isFound(level) ? Math.min(10 ** (-step / 30), meta.q_threshold) : 10 ** (-step / 30);
  return `q about ${format(at, 1)}`;
}

const strongest = new Map(); // by output: whether a family is found in any model

function foundAnywhere() {
  if (!strongest.has(state.output)) {
    const { qs } = shownOutput(),
      any = new Uint8Array(F);
    for (let f = 0; f < F; f++)
      for (let m = 0; m < M; m++)
        if (isFound(qs[f * M + m])) {
          any[f] = 1;
          break;
        }
    strongest.set(state.output, any);
  }
  return strongest.get(state.output);
}

const familyText = meta.families.map((f) => [f.name, f.id, ...f.members].join('\n').toLowerCase());
const modelText = meta.models.map((name, m) =>
  [name, ...labelNames.map((label) => labelOf(label, m))].join('\n').toLowerCase(),
);
const wordsOf = (text) => text.toLowerCase().split(/\s+/).filter(Boolean);

/** What is shown: families and models in order, after search and zoom. */
function view() {
  const o = shownOutput(),
    any = o.tested && state.found ? foundAnywhere() : null,
    motifWords = wordsOf(state.motif),
    modelWords = wordsOf(state.model);
  let rows = Array.from(o.families).filter(
    (f) => (!any || any[f]) && motifWords.every((word) => familyText[f].includes(word)),
  );
  let columns = Array.from(o.models).filter((m) => modelWords.every((word) => modelText[m].includes(word)));
  if (state.order === 'label' && state.label) {
    const { codes } = meta.labels[state.label];
    const rank = (m) => (codes[m] < 0 ? 1e9 : codes[m]);
    columns = columns.map((m, i) => [rank(m), i, m]).sort((a, b) => a[0] - b[0] || a[1] - b[1]);
    columns = columns.map(([, , m]) => m);
  }
  const all = { rows: rows.length, columns: columns.length };
  if (state.window) {
    rows = rows.slice(state.window.top, state.window.bottom);
    columns = columns.slice(state.window.left, state.window.right);
  }
  return { rows, columns, all };
}

const familyName = (f) => {
  const { name, members } = meta.families[f];
  return members.length > 1 ? `${name} and ${members.length - 1} more` : name;
};
