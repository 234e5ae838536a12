/* The figure of the first inserts in every output or background set. */

const HEAT_ROWS = 60;

function drawHeatmap(node) {
  const modes = [
    ['effect', 'effect'],
    ['relative', 'share of the output’s largest'],
    ...(given('z') ? [['z', 'z (against controls)']] : []),
  ];
  const units = new Set(levels('output').length > 1 && columns.get('unit')?.kind === 'text' ? levels('unit') : ['']);
  const automatic = units.size > 1 || new Set(levels('measure')).size > 1 ? 'relative' : 'effect';
  const mode = modes.some(([m]) => m === state.colour) ? state.colour : automatic;
  $('tab-options').append(
    'colour ',
    select(modes, mode, 'Colour by', (v) => {
      state.colour = v;
      drawFigure();
      writeHash();
    }),
  );
  const combos = new Map(); // columns: model x output x background that the filters of model and background allow
  const single = state.background !== '' && levels('output').length > 1; // one set: a column per output
  const inserts = [];
  const seen = new Set();
  for (const row of view) {
    if (seen.has(insertOf[row])) continue;
    seen.add(insertOf[row]);
    inserts.push(insertOf[row]);
    if (inserts.length === HEAT_ROWS) break;
  }
  const largest = relativeTo();
  const cells = [];
  inserts.forEach((insert, y) => {
    for (const row of rowsOfInsert(insert)) {
      if (state.model && show('model', row) !== state.model) continue;
      if (single && show('background', row) !== state.background) continue;
      const key = [code('model', row), code('output', row), code('background', row)].join(' ');
      if (!combos.has(key)) combos.set(key, row);
      const x =
        mode === 'z'
          ? number('z', row)
          : mode === 'relative'
            ? number('effect', row) / largest(row)
            : number('effect', row);
      if (x === x) cells.push([key, y, x, row]);
    }
  });
  const keys = [...combos.keys()].sort((p, q) => {
    const a = p.split(' ').map(Number),
      b = q.split(' ').map(Number);
    return a[0] - b[0] || a[1] - b[1] || a[2] - b[2];
  });
  const columnOf = new Map(keys.map((k, i) => [k, i]));
  const label = (k) => {
    const row = combos.get(k);
    return (
      [
        levels('model').length > 1 && !state.model ? show('model', row) : '',
        levels('output').length > 1 ? show('output', row) : '',
        levels('background').length > 1 && !single ? show('background', row) : '',
      ]
        .filter(Boolean)
        .join(' · ') || show('output', row)
    );
  };
  const data = cells.map(([k, y, x, row]) => ({ value: [columnOf.get(k), y, x], row }));
  let most = 0;
  for (const [, , x] of cells) most = Math.max(most, Math.abs(x));
  most = most || 1;
  const texts = keys.map(label),
    longest = Math.max(...texts.map((t) => t.length), 1);
  const room = node.clientWidth - 170,
    tight = room / keys.length < 9 * Math.min(longest, 14);
  const top = tight ? Math.min(150, 6.2 * longest * 0.75 + 20) : 30;
  const height = inserts.length * 18 + top + 40;
  placeOf = null;
  figure = chart(
    node,
    {
      grid: { left: 150, right: 18, top: top + 24, bottom: 8 },
      xAxis: {
        type: 'category',
        position: 'top',
        data: keys.map((_, i) => i),
        axisLabel: {
          color: colours.muted,
          fontSize: 11,
          rotate: tight ? 48 : 0,
          width: 170,
          overflow: 'truncate',
          interval: Math.max(0, Math.ceil((14 * keys.length) / room) - 1),
          formatter: (v) => texts[v],
        },
        axisTick: { show: false },
        axisLine: { show: false },
      },
      yAxis: {
        type: 'category',
        inverse: true,
        data: inserts.map((_, i) => i),
        axisLabel: {
          color: colours.text,
          fontSize: 11,
          width: 138,
          overflow: 'truncate',
          interval: 0,
          formatter: (v) => rowLabel(rowsOfInsert(inserts[v])[0]),
        },
        axisTick: { show: false },
        axisLine: { show: false },
      },
      visualMap: {
        min: -most,
        max: most,
        calculable: false,
        orient: 'horizontal',
        left: 4,
        top: 0,
        itemWidth: 10,
        itemHeight: 110,
        text: [format(most), format(-most)],
        textStyle: { color: colours.muted, fontSize: 11 },
        inRange: { color: [colours.low, colours.middle, colours.high] },
        dimension: 2,
        seriesIndex: 0,
      },
      series: [
        {
          type: 'heatmap',
          data,
          emphasis: { itemStyle: { borderColor: colours.text, borderWidth: 1.5 } },
          itemStyle: { borderColor: colours.card, borderWidth: keys.length > 60 ? 0 : 1 },
          progressive: 0,
        },
      ],
      tooltip: { ...tipStyle(), formatter: (p) => rowTip(p.data.row) },
      toolbox: { ...pngButton('heatmap'), feature: { saveAsImage: pngButton('heatmap').feature.saveAsImage } },
    },
    height,
  );
  figure.off('click');
  figure.on('click', (p) => choose(p.data.row, { jump: true, quiet: true }));
  const hidden = new Set(Array.from(view, (r) => insertOf[r])).size - inserts.length;
  const others = hidden > 0 ? ` (of ${counted(hidden + inserts.length)}: search, filter or sort to see others)` : '';
  const outputs = levels('output').length > 1,
    sets = !single && (levels('background').length > 1 || !outputs);
  const across = [outputs ? 'output' : '', sets ? 'background set' : ''].filter(Boolean).join(' and ');
  return (
    `The first ${counted(inserts.length)} inserts in the table's order${others}, in every ${across}; ` +
    'colours are centred on zero. Click a cell to see its motif.'
  );
}

let largestOf = null;

function relativeTo() {
  if (!largestOf) {
    largestOf = new Map();
    const effect = columns.get('effect').data;
    for (let row = 0; row < N; row++) {
      const k = code('model', row) * 65536 + code('output', row),
        x = Math.abs(effect[row]);
      if (x > (largestOf.get(k) ?? 0)) largestOf.set(k, x);
    }
  }
  return (row) => largestOf.get(code('model', row) * 65536 + code('output', row)) || 1;
}
