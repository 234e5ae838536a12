/* Sections of the panel: the effect in every single background, and the output before against after. */

/** Dots: single backgrounds; bar: 95 % interval; band: controls. One line per background set and orientation. */
function stripSection(row, section) {
  const rows = Array.from(rowsOfMotif(motifOf[row]))
    .filter((r) => siteOf[r] === siteOf[row] && sameRow(r, ['model', 'output']))
    .sort(
      (a, b) =>
        code('background', a) - code('background', b) || (show('orientation', a) < show('orientation', b) ? -1 : 1),
    );
  if (!rows.length || !given('effect')) return;
  const dots = [],
    means = [],
    bands = [];
  let least = 0,
    most = 0;
  const lowest = (r) => {
    const x = number('control_mean', r) - 2 * number('control_sd', r);
    return oneSided[code('measure', r)] ? Math.max(0, x) : x;
  };
  const see = (...xs) => {
    for (const v of xs)
      if (v === v) {
        least = Math.min(least, v);
        most = Math.max(most, v);
      }
  };
  rows.forEach((r, y) => {
    (inBackgrounds(r) ?? []).forEach((v, i) => {
      if (v === v) {
        see(v);
        dots.push({ value: [v, y + (((i * 0.618034) % 1) - 0.5) * 0.46], background: i, row: r });
      }
    });
    see(
      number('ci_low', r),
      number('ci_high', r),
      number('effect', r),
      lowest(r),
      number('control_mean', r) + 2 * number('control_sd', r),
    );
    means.push([number('effect', r), y, number('ci_low', r), number('ci_high', r)]);
    if (given('control_mean') && !Number.isNaN(number('control_sd', r)))
      bands.push([lowest(r), y, number('control_mean', r) + 2 * number('control_sd', r), number('control_mean', r)]);
  });
  const span = most - least || 1;
  const names = rows.map((r) => `${show('background', r)} ${signs(show('orientation', r))}`);
  const room = Math.min(130, 6.8 * Math.max(...names.map((t) => t.length)));
  const kept = meta.per_background;
  const missing =
    kept.inserts && detail && !dots.length
      ? ` ${onlyStrongest('Single backgrounds', { n: kept.inserts.length, of: kept.of }, 'effects.h5')}`
      : '';
  const note =
    [
      dots.length ? 'Dots: single backgrounds.' : '',
      'Bar: mean and 95 % interval.',
      bands.length ? 'Grey band: controls, mean ± 2 standard deviations.' : '',
    ]
      .filter(Boolean)
      .join(' ') + missing;
  section(
    'Effect across backgrounds, against controls',
    (node) => {
      const made = chart(
        node,
        {
          grid: { left: 10 + room, right: 14, top: 8, bottom: 40 },
          xAxis: axis(`effect (${effectTitle(row)})`, {
            min: least - 0.05 * span,
            max: most + 0.05 * span,
            axisLine: { onZero: false, lineStyle: { color: colours['line-strong'] } },
            axisLabel: {
              color: colours.muted,
              fontSize: 11,
              hideOverlap: true,
              showMinLabel: false,
              showMaxLabel: false,
              formatter: (v) => signs(String(Number(v.toPrecision(3)))),
            },
          }),
          yAxis: {
            type: 'value',
            inverse: true,
            min: -0.5,
            max: rows.length - 0.5,
            interval: 0.5,
            axisLabel: {
              color: colours.text,
              fontSize: 11,
              width: room,
              overflow: 'truncate',
              formatter: (v) => names[v] ?? '',
            },
            axisTick: { show: false },
            splitLine: { show: false },
            axisLine: { show: false },
          },
          series: [
            {
              type: 'custom',
              silent: true,
              z: 1,
              data: bands,
              encode: { x: [0, 2], y: 1 },
              renderItem: (_, api) => {
                const a = api.coord([api.value(0), api.value(1)]),
                  b = api.coord([api.value(2), api.value(1)]),
                  m = api.coord([api.value(3), api.value(1)]),
                  h = Math.min(34, api.size([0, 1])[1] * 0.72);
                return {
                  type: 'group',
                  children: [
                    {
                      type: 'rect',
                      shape: { x: a[0], y: a[1] - h / 2, width: b[0] - a[0], height: h, r: 3 },
                      style: { fill: colours.control, opacity: 0.28 },
                    },
                    {
                      type: 'line',
                      shape: { x1: m[0], x2: m[0], y1: a[1] - h / 2, y2: a[1] + h / 2 },
                      style: { stroke: colours.control, lineWidth: 1.5 },
                    },
                  ],
                };
              },
            },
            {
              type: 'scatter',
              data: dots,
              symbolSize: 5,
              z: 2,
              itemStyle: { color: colours.accent, opacity: 0.5 },
              encode: { x: 0, y: 1 },
              markLine: {
                silent: true,
                symbol: 'none',
                label: { show: false },
                lineStyle: { color: colours['line-strong'], type: 'dashed' },
                data: [{ xAxis: 0 }],
              },
            },
            {
              type: 'custom',
              data: means,
              z: 4,
              encode: { x: [0, 2, 3], y: 1 },
              renderItem: (_, api) => {
                const m = api.coord([api.value(0), api.value(1)]),
                  a = api.coord([api.value(2), api.value(1)]),
                  b = api.coord([api.value(3), api.value(1)]),
                  h = 9;
                const line = (x1, y1, x2, y2, width) => ({
                  type: 'line',
                  shape: { x1, y1, x2, y2 },
                  style: { stroke: colours.text, lineWidth: width },
                });
                const parts = [line(m[0], m[1] - h, m[0], m[1] + h, 3)];
                if (a[0] === a[0] && b[0] === b[0])
                  parts.push(
                    line(a[0], m[1], b[0], m[1], 1.5),
                    line(a[0], m[1] - 4, a[0], m[1] + 4, 1.5),
                    line(b[0], m[1] - 4, b[0], m[1] + 4, 1.5),
                  );
                return { type: 'group', children: parts };
              },
            },
          ],
          tooltip: {
            ...tipStyle(),
            formatter: (p) =>
              p.data?.row !== undefined
                ? tip(`background ${p.data.background + 1}`, [
                    `${show('background', p.data.row)} ${signs(show('orientation', p.data.row))}`,
                    `effect ${signed(p.data.value[0])}`,
                  ])
                : Array.isArray(p.data)
                  ? tip(names[p.data[1]], [`mean ${signed(p.data[0])}`])
                  : '',
          },
        },
        56 + 46 * rows.length,
      );
      made.on('click', (p) => {
        const target = p.data?.row ?? (Array.isArray(p.data) ? rows[Math.round(p.data[1])] : undefined);
        if (target !== undefined && target !== state.row) choose(target, { reveal: true, quiet: true });
      });
    },
    note,
  );
}

/** The tutorial's figure: each background's output before against after. Only where the effect is their difference. */
function beforeAfterSection(row, section) {
  const effects = inBackgrounds(row);
  const base = meta.baseline.find(
    (b) =>
      b.model === show('model', row) && b.background === show('background', row) && b.output === show('output', row),
  );
  if (!effects || !base || show('measure', row) !== 'difference') return;
  const data = base.values
    .map((b, i) => ({ value: [b, b + effects[i]], background: i }))
    .filter((d) => d.value[1] === d.value[1]);
  if (!data.length) return;
  const all = data.flatMap((d) => d.value),
    least = Math.min(...all),
    most = Math.max(...all),
    pad = 0.06 * (most - least || 1);
  const range = {
    min: least - pad,
    max: most + pad,
    axisLabel: {
      color: colours.muted,
      fontSize: 11,
      hideOverlap: true,
      showMinLabel: false,
      showMaxLabel: false,
      formatter: (v) => signs(String(Number(v.toPrecision(3)))),
    },
  };
  section('Output before and after, each background', (node) =>
    chart(
      node,
      {
        grid: { left: 54, right: 14, top: 10, bottom: 42 },
        xAxis: axis(`${show('output', row)} before (${effectTitle(row)})`, range),
        yAxis: axis('after', { ...range, nameGap: 38 }),
        series: [
          {
            type: 'scatter',
            data,
            symbolSize: 7,
            itemStyle: { color: number('effect', row) > 0 ? colours.up : colours.down, opacity: 0.75 },
            markLine: {
              silent: true,
              symbol: 'none',
              lineStyle: { color: colours['line-strong'], type: 'dashed' },
              data: [[{ coord: [least - pad, least - pad] }, { coord: [most + pad, most + pad] }]],
            },
          },
        ],
        tooltip: {
          ...tipStyle(),
          formatter: (p) =>
            p.data?.background !== undefined
              ? tip(`background ${p.data.background + 1}`, [
                  `before ${format(p.data.value[0])}`,
                  `after ${format(p.data.value[1])}`,
                ])
              : '',
        },
      },
      230,
    ),
  );
}
