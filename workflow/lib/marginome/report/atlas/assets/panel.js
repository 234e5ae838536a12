/* Beside the map: the chosen family over all models, the chosen model and the way to its page; the legend. */

const pageOf = (m, f) => {
  if (!meta.pages[m]) return null;
  const insert = f >= 0 ? insertAt(f, m) : null;
  const asked = new URLSearchParams({ output: shownOutput().name });
  if (insert) {
    asked.set('row.motif_id', insert[0]);
    asked.set('row.orientation', insert[1]);
  }
  return `${meta.pages[m].split('/').map(encodeURIComponent).join('/')}#${asked}`;
};

function insertAt(f, m) {
  const o = shownOutput();
  return o.inserts[o.insertOf[f * M + m]];
}

function openModel(m, f = -1) {
  const link = pageOf(m, f);
  if (link) location.href = link;
}

/** What a cell says, as lines. */
function linesOf(f, m) {
  const insert = insertAt(f, m),
    effect = effectOf(f, m);
  return [
    labelNames.map((label) => labelOf(label, m)).filter(Boolean).join(' · '),
    effect === effect ? `effect ${signed(effect)} ${shownOutput().unit}` : 'no such output',
    qText(levelOf(f, m)),
    insert ? `by ${insert[2]} ${insert[0]} (${signs(insert[1])})` : '',
  ];
}

function drawDetail() {
  const f = state.family,
    m = state.chosen,
    box = $('detail');
  if (f < 0) {
    box.replaceChildren(element('p', { className: 'muted' }, 'Choose a cell of the map.'));
    return;
  }
  const members = meta.families[f].members,
    out = [element('h2', {}, familyName(f))];
  if (m >= 0) {
    out.push(element('h3', {}, meta.models[m]));
    for (const line of linesOf(f, m)) if (line) out.push(element('p', {}, line));
    const link = pageOf(m, f);
    if (link) out.push(element('p', {}, element('a', { className: 'button', href: link, id: 'open' }, 'Open this model’s page')));
  }
  const node = element('div', { className: 'chart' });
  out.push(element('h3', {}, state.label ? `In all models, by ${state.label}` : 'In all models'), node);
  if (members.length > 1)
    out.push(
      element(
        'details',
        {},
        element('summary', {}, `${counted(members.length)} motifs of this family`),
        element('p', { className: 'note' }, members.join(', ')),
      ),
    );
  box.replaceChildren(...out);
  drawModels(node, f);
}

/** The chosen family in every model: a dot each, a column for each value of the label. */
function drawModels(node, f) {
  const { codes, levels } = state.label ? meta.labels[state.label] : { codes: [], levels: [] },
    names = [...levels, ...(codes.some((c) => c < 0) || !levels.length ? [levels.length ? 'none' : 'all'] : [])],
    points = meta.models.map((_, m) => {
      const code = codes[m] ?? -1,
        column = code < 0 ? names.length - 1 : code;
      return {
        value: [column + 0.32 * Math.sin(m * 12.9898), effectOf(f, m)],
        model: m,
        itemStyle: {
          color: hue(code),
          opacity: isFound(levelOf(f, m)) || !shownOutput().tested ? 0.9 : 0.35,
          borderColor: m === state.chosen ? colours.text : 'transparent',
          borderWidth: 2,
        },
        symbolSize: m === state.chosen ? 11 : 6,
      };
    });
  const made = chart(
    node,
    {
      grid: { left: 52, right: 10, top: 10, bottom: names.length > 3 ? 84 : 30 },
      xAxis: axis('', {
        type: 'value',
        min: -0.5,
        max: names.length - 0.5,
        interval: 1,
        splitLine: { show: false },
        axisLabel: {
          color: colours.muted,
          fontSize: 11,
          rotate: names.length > 3 ? 55 : 0,
          width: 90,
          overflow: 'truncate',
          formatter: (v) => names[Math.round(v)] ?? '',
          customValues: names.map((_, i) => i),
        },
      }),
      yAxis: axis(shownOutput().unit, { nameGap: 38, axisLine: { show: true, onZero: false } }),
      series: [{ type: 'scatter', data: points, large: false, cursor: 'pointer' }],
      tooltip: {
        ...tipStyle(),
        formatter: (p) => tip(meta.models[p.data.model], linesOf(f, p.data.model)),
      },
    },
    names.length > 3 ? 320 : 260,
  );
  made.off('click');
  made.on('click', (p) => choose(f, p.data.model));
}

function drawLegend() {
  const box = $('legend');
  if (!state.label) return box.replaceChildren();
  const { codes, levels } = meta.labels[state.label],
    n = new Map();
  for (const c of codes) n.set(c, (n.get(c) ?? 0) + 1);
  const chips = levels.slice(0, 40).map((level, code) => {
    const chip = element('button', { type: 'button', className: 'chip', title: `Models with ${state.label} ${level}` });
    chip.append(element('span', { className: 'dot', style: `background: ${hue(code)}` }), `${level} (${n.get(code)})`);
    chip.addEventListener('click', () => {
      state.model = state.model === level ? '' : level;
      $('model').value = state.model;
      state.window = null;
      drawMap();
      writeHash();
    });
    return chip;
  });
  if (levels.length > 40) chips.push(element('span', { className: 'muted' }, `and ${counted(levels.length - 40)} more`));
  box.replaceChildren(...chips);
}
