/* Sections of the panel: the effect in every output; along the gap of a pair or the position. */

function outputsSection(row, section) {
  if (levels('output').length < 2) return;
  const all = Array.from(rowsOfInsert(insertOf[row])).filter(
    (r) => sameRow(r, ['model', 'background']) && number('effect', r) === number('effect', r),
  );
  if (all.length < 2) return;
  const largest = relativeTo(),
    mixed = new Set(all.map(effectTitle)).size > 1;
  const height = (r) => (mixed ? number('effect', r) / largest(r) : number('effect', r));
  const most = 24,
    rows = all.length <= most ? all : all.sort((a, b) => Math.abs(height(b)) - Math.abs(height(a))).slice(0, most);
  section(
    all.length > most ? `Effect in ${most} of ${all.length} outputs, largest first` : 'Effect in every output',
    (node) => {
      const made = chart(
        node,
        {
          grid: { left: 8, right: 16, top: 6, bottom: 38, containLabel: true },
          xAxis: axis(mixed ? 'share of the output’s largest effect' : `effect (${effectTitle(row)})`, {
            scale: false,
          }),
          yAxis: {
            type: 'category',
            inverse: true,
            data: rows.map((_, i) => i),
            axisLabel: {
              color: colours.text,
              fontSize: 11,
              width: 150,
              overflow: 'truncate',
              interval: 0,
              formatter: (v) => show('output', rows[v]),
            },
            axisTick: { show: false },
            axisLine: { lineStyle: { color: colours['line-strong'] } },
          },
          series: [
            {
              type: 'bar',
              barMaxWidth: 12,
              data: rows.map((r) => ({
                value: height(r),
                row: r,
                itemStyle: {
                  color: !significant(r) ? colours.null : height(r) > 0 ? colours.up : colours.down,
                  borderColor: r === row ? colours.text : 'transparent',
                  borderWidth: r === row ? 1.5 : 0,
                },
              })),
            },
            ...(mixed
              ? []
              : [
                  {
                    type: 'custom',
                    silent: true,
                    z: 4,
                    data: rows.map((r, y) => [number('ci_low', r), y, number('ci_high', r)]),
                    encode: { x: [0, 2], y: 1 },
                    renderItem: (_, api) => {
                      const a = api.coord([api.value(0), api.value(1)]),
                        b = api.coord([api.value(2), api.value(1)]);
                      return a[0] === a[0] && b[0] === b[0]
                        ? {
                            type: 'line',
                            shape: { x1: a[0], x2: b[0], y1: a[1], y2: b[1] },
                            style: { stroke: colours.text, lineWidth: 1.2 },
                          }
                        : null;
                    },
                  },
                ]),
          ],
          tooltip: { ...tipStyle(), formatter: (p) => (p.data?.row !== undefined ? rowTip(p.data.row) : '') },
        },
        52 + 18 * rows.length,
      );
      made.on('click', (p) => {
        if (p.data?.row !== undefined) choose(p.data.row, { reveal: true, quiet: true });
      });
    },
    `${mixed ? '' : 'Line: 95 % interval. '}Grey: not significant.`,
  );
}

/** Effect against the gap of a pair, or against the position. */
function alongSection(row, section) {
  const along = ['gap', 'start'].find((name) => has(name) && varies(name) && given(name));
  if (!along) return;
  const fixed = [
    'model',
    'background',
    'output',
    'collection',
    ...(along === 'gap' ? ['partner_id', 'order', 'sample'] : ['orientation', 'sample']),
  ].filter(has);
  const rows = Array.from(rowsOfMotif(motifOf[row])).filter(
    (r) => sameRow(r, fixed) && number(along, r) === number(along, r),
  );
  const lines = new Map();
  for (const r of rows) {
    const name =
      along === 'gap'
        ? `${signs(show('orientation', r))} ${signs(show('partner_orientation', r))}`
        : signs(show('orientation', r));
    if (!lines.has(name)) lines.set(name, []);
    lines.get(name).push(r);
  }
  if (![...lines.values()].some((l) => l.length > 1)) return;
  const palette = [colours.up, colours.down, colours.A, colours.G];
  section(
    along === 'gap' ? 'Effect against the gap' : 'Effect against the position',
    (node) => {
      const series = [];
      [...lines].forEach(([name, list], i) => {
        list.sort((a, b) => number(along, a) - number(along, b));
        const colour = palette[i % palette.length];
        series.push({
          type: 'line',
          name,
          data: list.map((r) => ({ value: [number(along, r), number('effect', r)], row: r })),
          symbolSize: 6,
          symbol: ['circle', 'rect', 'triangle', 'diamond'][i % 4],
          lineStyle: { color: colour, width: 1.8 },
          itemStyle: { color: colour },
        });
        series.push({
          type: 'custom',
          name,
          silent: true,
          data: list.map((r) => [number(along, r), number('ci_low', r), number('ci_high', r)]),
          encode: { x: 0, y: [1, 2] },
          itemStyle: { color: colour },
          renderItem: (_, api) => {
            const a = api.coord([api.value(0), api.value(1)]),
              b = api.coord([api.value(0), api.value(2)]);
            return a[1] === a[1]
              ? {
                  type: 'line',
                  shape: { x1: a[0], y1: a[1], x2: b[0], y2: b[1] },
                  style: { stroke: colour, opacity: 0.6 },
                }
              : null;
          },
        });
      });
      const made = chart(
        node,
        {
          grid: { left: 56, right: 14, top: 28, bottom: 42 },
          xAxis: axis(along === 'gap' ? 'bases between the two motifs' : 'start of the insert (bp)'),
          yAxis: axis(`effect (${effectTitle(row)})`, { nameGap: 42 }),
          series,
          legend: { top: 0, left: 0, data: [...lines.keys()], textStyle: { color: colours.muted, fontSize: 11 } },
          tooltip: { ...tipStyle(), formatter: (p) => (p.data?.row !== undefined ? rowTip(p.data.row) : '') },
        },
        230,
      );
      made.on('click', (p) => {
        if (p.data?.row !== undefined) choose(p.data.row, { reveal: true, quiet: true });
      });
    },
    along === 'gap' ? 'Lines: orientations of the two motifs. Bars: 95 % interval.' : 'Bars: 95 % interval.',
  );
}
