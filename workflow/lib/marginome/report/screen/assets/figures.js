/* The tabs above the table, and the figures of rank and significance. */

const anyOutput = (name) => filterLevels(name).length > 1;
const DIMENSIONS = ['background', 'orientation', 'output', 'model'].filter(anyOutput);
const TABS = [
  ...(LOCI ? [['locus', 'Locus']] : []),
  ...(given('effect') ? [['rank', 'Rank']] : []),
  ...(hasQ || given('p') ? [['volcano', 'Volcano']] : []),
  ...(DIMENSIONS.length ? [['agreement', 'Agreement']] : []),
  ...(anyOutput('output') || anyOutput('background') || anyOutput('model') ? [['heatmap', 'Heatmap']] : []),
];

function drawTabs() {
  $('tabs').replaceChildren(
    ...TABS.map(([id, title]) => {
      const button = element('button', { type: 'button', role: 'tab', tabIndex: id === state.tab ? 0 : -1 }, title);
      button.setAttribute('aria-selected', id === state.tab);
      button.addEventListener('click', () => {
        state.tab = id;
        drawTabs();
        drawFigure();
        writeHash();
      });
      button.addEventListener('keydown', (event) => {
        const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
        if (!step) return;
        const next = TABS[(TABS.findIndex(([t]) => t === id) + step + TABS.length) % TABS.length][0];
        state.tab = next;
        drawTabs();
        drawFigure();
        writeHash();
        $('tabs').querySelector('[aria-selected=true]').focus();
      });
      return button;
    }),
  );
}

/* Every figure draws itself, says where a row is in it, and returns the note under it. */
function drawFigure() {
  const draw = {
    locus: drawLocus,
    rank: drawRank,
    volcano: drawVolcano,
    agreement: drawAgreement,
    heatmap: drawHeatmap,
  }[state.tab];
  $('tab-options').replaceChildren();
  $('figure').setAttribute('role', state.tab === 'locus' ? 'group' : 'img');
  $('figure-note').textContent = draw($('figure'));
}

/** Ranks on a logarithmic axis from both ends, which meet in the middle: what matters is in the first and last few. */
function rankScale(n) {
  const half = Math.log10((n + 1) / 2);
  const place = (rank) => (rank <= (n + 1) / 2 ? Math.log10(rank) : 2 * half - Math.log10(n + 1 - rank));
  const decades = [];
  for (let d = 1; d < n / 4; d *= 10) decades.push(d);
  const ticks =
    n <= 20
      ? Array.from({ length: n }, (_, i) => i + 1)
      : [...decades, Math.round((n + 1) / 2), ...decades.map((d) => n + 1 - d).reverse()];
  const label = (x) =>
    counted(ticks.reduce((best, t) => (Math.abs(place(t) - x) < Math.abs(place(best) - x) ? t : best), ticks[0] ?? 1));
  return { place, ticks, label };
}

function drawRank(node) {
  const rows = Uint32Array.from(view).filter((r) => number('effect', r) === number('effect', r));
  const effect = columns.get('effect').data;
  if (!(state.sort === 'effect' && state.dir === 'desc')) rows.sort((a, b) => effect[b] - effect[a] || a - b);
  const xy = new Float64Array(2 * rows.length),
    at = new Map();
  const ranks = rankScale(rows.length);
  rows.forEach((row, i) => {
    xy[2 * i] = ranks.place(i + 1);
    xy[2 * i + 1] = effect[row];
  });
  placeOf = (row) => {
    if (!at.size) rows.forEach((r, i) => at.set(r, i));
    return at.has(row) ? [ranks.place(at.get(row) + 1), effect[row]] : null;
  };
  const marks = { customValues: ranks.ticks.map(ranks.place) };
  figure = scatter(
    node,
    groupsOf(rows, xy),
    axis('rank of the effect', {
      scale: false,
      min: -0.1,
      max: ranks.place(Math.max(2, rows.length)) + 0.1,
      axisLabel: { ...marks, color: colours.muted, fontSize: 11, hideOverlap: true, formatter: (v) => ranks.label(v) },
      axisTick: { show: true, ...marks, lineStyle: { color: colours['line-strong'] } },
      splitLine: { show: false },
      axisLine: { onZero: false, lineStyle: { color: colours['line-strong'] } },
    }),
    axis(effectAxisName(rows), { nameGap: 44 }),
    { lines: [{ yAxis: 0 }], labels: labelled(rows, xy), name: 'rank' },
  );
  const stretched = '; both ends of the order are stretched (logarithms of the rank from the top and from the bottom)';
  return (
    `Every row of the table, ordered by its effect${rows.length > 20 ? stretched : ''}. ` +
    `Click a point to see its ${thing}.`
  );
}

function drawVolcano(node) {
  const which = hasQ ? 'q' : 'p',
    rows = Uint32Array.from(view);
  const cap = 320;
  const height = (row) => Math.min(cap, -number(which, row));
  const xy = new Float64Array(2 * rows.length);
  rows.forEach((row, i) => {
    xy[2 * i] = number('effect', row);
    xy[2 * i + 1] = height(row);
  });
  placeOf = (row) => (view.includes(row) && height(row) === height(row) ? [number('effect', row), height(row)] : null);
  figure = scatter(
    node,
    groupsOf(rows, xy),
    axis(effectAxisName(rows)),
    axis(`${MINUS}log₁₀ ${which}`, { scale: false, nameGap: 36 }),
    {
      lines: [{ xAxis: 0 }, ...(hasQ ? [{ yAxis: -Math.log10(threshold()) }] : [])],
      labels: labelled(rows, xy),
      name: 'volcano',
    },
  );
  return `How large an effect is, against how rarely ${nullName()} reach it. The dashed line is ${rule()}.`;
}
