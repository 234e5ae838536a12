/* The section of pairs of motifs: which cooperate, and the interaction of the chosen pair against the gap. */

const PAIRS = $('pairs') ? JSON.parse($('pairs').textContent) : null;
const MOST_SHOWN = 300;
let pairColumns = null,
  curves = null,
  strips = null; // column -> values, of pairs, their arrangements, and backgrounds at the best ones

async function loadPairs() {
  const read = (list, arrays) => new Map(list.map((c) => [c.name, { ...c, data: arrays[c.name] }]));
  pairColumns = read(PAIRS.columns, await unpack('pairs-data', PAIRS.arrays));
  curves = read(PAIRS.curves, await unpack('curves-data', PAIRS.curve_arrays));
  strips = read(PAIRS.singles, await unpack('strips-data', PAIRS.single_arrays));
  $('pairs-section').hidden = false;
  document.addEventListener('themechange', drawPairs);
  drawPairs();
}

const valueOf = (table, name, row) => {
  const column = table.get(name);
  if (!column) return NaN;
  return column.kind === 'text' ? column.levels[column.data[row]] : column.data[row];
};
const pairValue = (name, row) => valueOf(pairColumns, name, row);
const pairKey = (row) =>
  ['collection', 'motif_id', 'partner_id', 'position'].map((name) => pairValue(name, row)).join('\t');

/** Two motifs in an arrangement as they stand: CTCF+ 12 JUN−. */
function arranged(first, second, orientation, partner, order, gap) {
  const two = [first + orientation, second + partner];
  if (order === 'swapped') two.reverse();
  return signs(two.join(gap === null ? ' … ' : ` ${gap} `));
}

/** A p as far as mismatched pairs reach: "< 0.005" beyond. */
function reached(p, resolution) {
  if (!(p >= 0)) return '';
  return p < resolution ? `< ${format(resolution, 2)}` : format(p, 2);
}

function drawPairs() {
  if (!pairColumns) return;
  const rows = [];
  for (let row = 0; row < PAIRS.n; row++)
    if (['model', 'output', 'background'].every((name) => state[name] === '' || pairValue(name, row) === state[name]))
      rows.push(row);
  const chosen = rows.find((row) => pairKey(row) === state.two) ?? rows[0] ?? -1;
  const several = ['model', 'output', 'background'].filter((name) => state[name] === '' && levels(name).length > 1);
  if (new Set(rows.map((row) => pairValue('position', row))).size > 1) several.push('position');
  const text = (name, digits = 3) => [PAIRS.help[name], (row) => signed(pairValue(name, row), digits)];
  const p = (name) => [PAIRS.help[name], (row) => reached(pairValue(name, row), pairValue('p_resolution', row))];
  const shown = [
    ['Pair', '', (row) => `${pairValue('motif_name', row)} with ${pairValue('partner_name', row)}`],
    ...several.map((name) => [name[0].toUpperCase() + name.slice(1), '', (row) => pairValue(name, row)]),
    [
      'Best arrangement',
      'Where it is farthest beyond what is expected, seams and gaps below 3 bp left out.',
      (row) =>
        pairValue('orientation', row)
          ? arranged('A', 'B', ...['orientation', 'partner_orientation', 'order', 'gap'].map((n) => pairValue(n, row)))
          : '',
    ],
    ['Interaction', ...text('interaction')],
    ['Expected', ...text('expected')],
    ['p', ...p('cooperation_p')],
    ['q', PAIRS.help.cooperation_q, (row) => format(pairValue('cooperation_q', row), 2)],
    ['Syntax p', ...p('syntax_p')],
    ['Syntax q', PAIRS.help.syntax_q, (row) => format(pairValue('syntax_q', row), 2)],
    ['Period p', ...p('period_p')],
  ];
  const numeric = (i) => (i > several.length + 1 ? 'num' : '');
  $('pairs-head').replaceChildren(
    element(
      'tr',
      {},
      ...shown.map(([title, help], i) =>
        element('th', { scope: 'col', className: `plain ${numeric(i)}`, title: help ?? '' }, title),
      ),
    ),
  );
  $('pairs-body').replaceChildren(
    ...rows.slice(0, MOST_SHOWN).map((row) => {
      const line = element('tr', { className: 'row', tabIndex: 0 });
      line.setAttribute('aria-selected', row === chosen);
      line.append(...shown.map(([, , said], i) => element('td', { className: numeric(i) }, said(row))));
      const take = () => {
        state.two = pairKey(row);
        drawPairs();
        writeHash();
      };
      line.addEventListener('click', take);
      line.addEventListener('keydown', (event) => {
        if (event.key === 'Enter') take();
      });
      return line;
    }),
  );
  const left = rows.length > MOST_SHOWN ? ` The first ${MOST_SHOWN} are shown.` : '';
  const held = `This page holds ${counted(PAIRS.n)} of ${counted(PAIRS.of)} rows of pairs.parquet.`;
  $('pairs-count').textContent = `${counted(rows.length)} pairs of motifs`;
  $('pairs-note').textContent =
    'A and B are the first and the second of a pair; between them the bases (bp). Smallest p first.' +
    left +
    (PAIRS.of > PAIRS.n ? ` ${held}` : '');
  drawCurves(chosen);
  drawStrips(chosen);
}

/** A line along y, as an item of a custom series; null where an end is not known. */
function upright(api, x, low, high, stroke) {
  const from = api.coord([x, low]),
    to = api.coord([x, high]);
  return from[1] === from[1] && to[1] === to[1]
    ? { type: 'line', shape: { x1: from[0], y1: from[1], x2: to[0], y2: to[1] }, style: { stroke, lineWidth: 1.2 } }
    : null;
}

/** The interaction of a pair against the gap, a panel an arrangement of orientations. */
function drawCurves(pair) {
  const node = $('pairs-figure');
  const panels = new Map(); // kind -> rows
  const of = curves.get('pair').data;
  if (pair >= 0) {
    const wanted = pairValue('pair', pair);
    for (let row = 0; row < of.length; row++) {
      if (of[row] !== wanted) continue;
      const kind = valueOf(curves, 'kind', row);
      if (!panels.has(kind)) panels.set(kind, []);
      panels.get(kind).push(row);
    }
  }
  $('pairs-figure-note').textContent = !panels.size
    ? pair >= 0
      ? 'The arrangements of this pair are in arrangements.parquet.'
      : 'Of this output no interactions were computed: choose one whose effects add up, not a distance.'
    : `${pairValue('motif_name', pair)} (A) with ${pairValue('partner_name', pair)} (B), ` +
      `${pairValue('output', pair)}: ` +
      'interaction (line), what two motifs of this strength do to each other (dashed), twice what ' +
      'meaningless neighbours do (band). Hollow: a site stands on the seam.' +
      (curves.has('interaction_fold_sd') ? ' Bars: standard deviation between the members of the ensemble.' : '');
  node.hidden = !panels.size;
  if (!panels.size) return;
  const kinds = [...panels.keys()],
    across = Math.min(4, kinds.length),
    width = 100 / across;
  const option = { grid: [], xAxis: [], yAxis: [], series: [], title: [], tooltip: { trigger: 'item', ...tipStyle() } };
  const unit = pairValue('unit', pair) ?? '';
  let low = 0,
    high = 0;
  for (const row of [...panels.values()].flat()) {
    const middle = valueOf(curves, 'expected', row),
      band = 2 * valueOf(curves, 'beyond_sd', row),
      v0 = valueOf(curves, 'interaction', row),
      folds = valueOf(curves, 'interaction_fold_sd', row);
    for (const v of [v0, v0 - folds, v0 + folds, middle - band, middle + band])
      if (v === v) [low, high] = [Math.min(low, v), Math.max(high, v)];
  }
  const room = 0.05 * (high - low || 1);
  kinds.forEach((kind, i) => {
    const rows = panels.get(kind),
      at = { xAxisIndex: i, yAxisIndex: i },
      left = `${(i % across) * width + 4}%`,
      top = 34 + 220 * Math.floor(i / across);
    option.grid.push({ left, top, width: `${width - 5}%`, height: 140 });
    option.title.push({
      text: arranged('A', 'B', ...kind.split(' '), null),
      left,
      top: top - 26,
      textStyle: { color: colours.text, fontSize: 12, fontWeight: 'normal' },
    });
    option.xAxis.push({ type: 'value', gridIndex: i, ...axis(i === 0 ? 'bases between the two' : '') });
    option.yAxis.push({
      type: 'value',
      gridIndex: i,
      ...axis(i === 0 ? unit : '', { nameGap: 40 }),
      min: low - room,
      max: high + room,
      axisLabel: { color: colours.muted, fontSize: 11, formatter: (v) => format(v, 2) },
    });
    const line = (name) => rows.map((row) => [valueOf(curves, 'gap', row), valueOf(curves, name, row)]);
    const plain = { type: 'line', silent: true, symbol: 'none', ...at };
    const edge = (side) =>
      rows.map((row) => [
        valueOf(curves, 'gap', row),
        valueOf(curves, 'expected', row) + side * 2 * valueOf(curves, 'beyond_sd', row),
      ]);
    if (curves.has('beyond_sd'))
      option.series.push({
        ...at,
        type: 'custom',
        silent: true,
        z: 1,
        data: [[...edge(1), ...edge(-1).reverse()].flat()],
        renderItem: (_, api) => {
          const points = [];
          for (let k = 0; k < 4 * rows.length; k += 2) points.push(api.coord([api.value(k), api.value(k + 1)]));
          return points.some((xy) => xy.some((v) => v !== v))
            ? null
            : { type: 'polygon', shape: { points }, style: { fill: colours.control, opacity: 0.25 } };
        },
      });
    if (curves.has('interaction_fold_sd'))
      option.series.push({
        ...at,
        type: 'custom',
        silent: true,
        z: 3,
        data: rows.map((row) => {
          const middle = valueOf(curves, 'interaction', row),
            folds = valueOf(curves, 'interaction_fold_sd', row);
          return [valueOf(curves, 'gap', row), middle - folds, middle + folds];
        }),
        renderItem: (_, api) => upright(api, api.value(0), api.value(1), api.value(2), colours.down),
      });
    option.series.push(
      { ...plain, data: line('expected'), lineStyle: { color: colours.control, width: 1, type: 'dashed' } },
      {
        ...plain,
        silent: false,
        symbol: 'circle',
        symbolSize: 6,
        z: 4,
        lineStyle: { color: colours.down, width: 1.5 },
        itemStyle: { color: colours.down },
        data: rows.map((row) => ({
          value: [valueOf(curves, 'gap', row), valueOf(curves, 'interaction', row)],
          row,
          itemStyle: valueOf(curves, 'seam', row)
            ? { color: colours.card, borderColor: colours.down, borderWidth: 1.5 }
            : {},
        })),
      },
    );
  });
  option.tooltip.formatter = (item) => {
    const row = item.data?.row;
    if (row === undefined) return '';
    const seam = valueOf(curves, 'seam', row);
    return tip(arranged('A', 'B', ...valueOf(curves, 'kind', row).split(' '), valueOf(curves, 'gap', row)), [
      `interaction ${signed(valueOf(curves, 'interaction', row))} ${unit}`,
      `expected ${signed(valueOf(curves, 'expected', row))}`,
      seam ? `a site of ${seam} stands on the seam` : '',
    ]);
  };
  chart(node, option, 20 + 220 * Math.ceil(kinds.length / across));
}
