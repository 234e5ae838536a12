/* A figure of points, one a row: three colours, the names of the strongest, a ring around the chosen. */

function scatter(node, points, xAxis, yAxis, { lines = [], labels = [], name }) {
  // points: {rows, xy} in three groups; thousands of points are drawn in ECharts' large mode
  named = new Set(labels.map((l) => l.motif));
  const total = points.reduce((sum, g) => sum + g.rows.length, 0),
    size = total > 20000 ? 2.5 : total > 3000 ? 4 : 6;
  const series = points.map((group) => ({
    type: 'scatter',
    name: group.name,
    data: group.xy,
    dimensions: ['x', 'y'],
    large: true,
    largeThreshold: 1000,
    symbolSize: size,
    itemStyle: { color: group.colour, opacity: group.opacity },
    emphasis: { scale: 1.5 },
    z: group.z,
  }));
  series[0].markLine = {
    silent: true,
    symbol: 'none',
    label: { show: false },
    lineStyle: { color: colours['line-strong'], type: 'dashed' },
    data: lines,
  };
  series.push({
    type: 'scatter',
    name: '',
    data: labels,
    symbolSize: 1,
    silent: true,
    itemStyle: { color: 'transparent' },
    z: 8,
    label: {
      show: true,
      position: 'right',
      distance: 8,
      color: colours.text,
      textBorderColor: colours.card,
      textBorderWidth: 3,
      fontSize: 11,
      formatter: (p) => p.data.text,
    },
  });
  series.push({
    type: 'scatter',
    name: ' ',
    id: 'chosen',
    data: chosenPoint(),
    symbolSize: 13,
    silent: true,
    z: 9,
    itemStyle: { color: 'transparent', borderColor: colours.text, borderWidth: 2 },
    label: {
      show: true,
      position: 'top',
      fontWeight: 'bold',
      color: colours.text,
      backgroundColor: colours.card,
      padding: [1, 4],
      borderRadius: 3,
      formatter: (p) => p.data.text ?? '',
    },
  });
  const made = chart(
    node,
    {
      grid: { left: 58, right: 22, top: 38, bottom: 44 },
      xAxis,
      yAxis,
      series,
      legend: {
        data: points.filter((g) => g.rows.length).map((g) => ({ name: g.name, icon: 'circle' })),
        left: 4,
        top: 0,
        itemWidth: 10,
        itemHeight: 10,
        textStyle: { color: colours.muted, fontSize: 12 },
        inactiveColor: colours.line,
      },
      tooltip: {
        trigger: 'item',
        ...tipStyle(),
        formatter: (p) => (points[p.seriesIndex] ? rowTip(points[p.seriesIndex].rows[p.dataIndex]) : ''),
      },
      toolbox: pngButton(name),
      aria: { enabled: false },
    },
    330,
  );
  made.off('click');
  made.on('click', (p) => {
    const group = points[p.seriesIndex];
    if (group) choose(group.rows[p.dataIndex], { reveal: true, jump: true });
  });
  return made;
}

function groupsOf(rows, xy) {
  // split rows into not significant, lower, higher
  const parts = [
    { name: hasQ ? `q > ${threshold()}` : '95 % interval holds 0', colour: colours.null, opacity: 0.55, z: 2 },
    { name: 'lower', colour: colours.down, opacity: 0.85, z: 3 },
    { name: 'higher', colour: colours.up, opacity: 0.85, z: 3 },
  ];
  const lists = [[], [], []];
  for (let i = 0; i < rows.length; i++) {
    if (xy[2 * i] !== xy[2 * i] || xy[2 * i + 1] !== xy[2 * i + 1]) continue;
    lists[!significant(rows[i]) ? 0 : number('effect', rows[i]) > 0 ? 2 : 1].push(i);
  }
  return parts.map((part, g) => {
    const out = new Float64Array(2 * lists[g].length);
    lists[g].forEach((i, k) => {
      out[2 * k] = xy[2 * i];
      out[2 * k + 1] = xy[2 * i + 1];
    });
    return { ...part, name: `${part.name} (${counted(lists[g].length)})`, rows: lists[g].map((i) => rows[i]), xy: out };
  });
}

/** One label per motif, the strongest first. */
function labelled(rows, xy, most = 6) {
  const seen = new Set(),
    out = [];
  const best = [...rows.keys()]
    .filter((i) => xy[2 * i] === xy[2 * i] && xy[2 * i + 1] === xy[2 * i + 1])
    .sort((a, b) => Math.abs(number('effect', rows[b])) - Math.abs(number('effect', rows[a])));
  for (const i of best) {
    if (seen.has(motifOf[rows[i]])) continue;
    seen.add(motifOf[rows[i]]);
    out.push({ value: [xy[2 * i], xy[2 * i + 1]], text: rowName(rows[i]), motif: motifOf[rows[i]], i });
    if (out.length >= most) break;
  }
  const named = out.map((l) => l.text); // motifs of one name are told apart by identifier
  out.forEach((l) => {
    if (named.filter((t) => t === l.text).length > 1) l.text = `${l.text} ${show('motif_id', rows[l.i])}`;
  });
  // names of points on the right go to their left, or the edge would cut them; names at one height are moved apart
  const ends = [Infinity, -Infinity, Infinity, -Infinity];
  for (let i = 0; i < xy.length; i++) {
    const k = 2 * (i % 2);
    if (xy[i] < ends[k]) ends[k] = xy[i];
    if (xy[i] > ends[k + 1]) ends[k + 1] = xy[i];
  }
  const [left, right, low, high] = ends,
    scale = 240 / (high - low || 1);
  for (const side of ['left', 'right']) {
    let last = -Infinity;
    for (const label of out
      .filter((l) => l.value[0] > left + 0.6 * (right - left) === (side === 'left'))
      .sort((a, b) => b.value[1] - a.value[1])) {
      const y = (high - label.value[1]) * scale,
        place = Math.max(y, last + 13);
      const beside = side === 'right' ? -8 : 8; // of the curve, not on it
      label.label = { position: side, offset: [0, place - y + beside] };
      last = place;
    }
  }
  return out;
}

let figure = null,
  placeOf = null,
  named = new Set(); // the chart and where a row is in it

function effectAxisName(rows) {
  const names = new Set();
  for (let i = 0; i < rows.length && names.size < 2; i++) names.add(effectTitle(rows[i]));
  return names.size === 1 ? `effect (${[...names][0]})` : 'effect (unit of each output)';
}

function chosenPoint() {
  const place = state.row >= 0 ? placeOf(state.row) : null;
  return place ? [{ value: place, text: named.has(motifOf[state.row]) ? '' : rowName(state.row) }] : [];
}

function mark() {
  // ring around the chosen row
  if (!figure || !placeOf) return;
  figure.setOption({ series: [{ id: 'chosen', data: chosenPoint() }] });
}
