/* Of a pair of motifs in its best arrangement: the two together and each alone, in every background. */

/** A pair in its best arrangement, in every background: each motif alone, the sum of the two, and both together. */
function drawStrips(pair) {
  const node = $('pairs-strips'),
    of = strips.get('pair').data,
    values = [];
  const wanted = pair >= 0 ? pairValue('pair', pair) : NaN;
  for (let row = 0; row < of.length; row++) {
    if (of[row] !== wanted) continue;
    const [first, second, both] = ['effect', 'effect_partner', 'effect_pair'].map((name) => valueOf(strips, name, row));
    values.push([first, second, first + second, both]);
  }
  node.hidden = !values.length;
  const best = pair >= 0 && pairValue('orientation', pair);
  $('pairs-strips-note').textContent = values.length
    ? `The best arrangement, ${arranged(
        ...['motif_name', 'partner_name', 'orientation', 'partner_orientation', 'order', 'gap'].map((n) =>
          pairValue(n, pair),
        ),
      )}, in every background: dots; line: one background; bar: mean.`
    : best
      ? 'Effects in single backgrounds are in pair_backgrounds.parquet, where they were kept.'
      : '';
  if (!values.length) return;
  const names = [pairValue('motif_name', pair), pairValue('partner_name', pair), 'sum of the two', 'together'];
  const plain = { animation: false, xAxisIndex: 0, yAxisIndex: 0 };
  chart(
    node,
    {
      grid: { left: 64, right: 14, top: 26, bottom: 30 },
      xAxis: {
        type: 'value',
        min: -0.5,
        max: 3.5,
        interval: 0.5,
        axisTick: { show: false },
        splitLine: { show: false },
        axisLine: { lineStyle: { color: colours['line-strong'] } },
        axisLabel: {
          color: colours.text,
          fontSize: 12,
          width: 130,
          overflow: 'truncate',
          formatter: (x) => names[x] ?? '',
        },
      },
      yAxis: {
        type: 'value',
        scale: true,
        ...axis(`effect (${pairValue('unit', pair) ?? ''})`, {
          nameGap: 46,
          axisLine: { show: true, onZero: false, lineStyle: { color: colours['line-strong'] } },
        }),
        axisLabel: { color: colours.muted, fontSize: 11, formatter: (v) => format(v, 2) },
      },
      series: [
        {
          ...plain,
          type: 'custom',
          silent: true,
          z: 1,
          data: values.map((v) => [2, v[2], 3, v[3]]),
          renderItem: (_, api) => {
            const [x1, y1] = api.coord([2, api.value(1)]),
              [x2, y2] = api.coord([3, api.value(3)]);
            return {
              type: 'line',
              shape: { x1, y1, x2, y2 },
              style: { stroke: colours.control, lineWidth: 1, opacity: 0.6 },
            };
          },
        },
        {
          ...plain,
          type: 'scatter',
          symbolSize: 6,
          z: 2,
          itemStyle: { color: colours.down, opacity: 0.6 },
          data: values.flatMap((v, i) => v.map((y, x) => ({ value: [x, y], background: i }))),
        },
        {
          ...plain,
          type: 'custom',
          silent: true,
          z: 4,
          data: names.map((_, x) => [x, values.reduce((sum, v) => sum + v[x], 0) / values.length]),
          renderItem: (_, api) => {
            const [x, y] = api.coord([api.value(0), api.value(1)]),
              half = 0.28 * api.size([1, 0])[0];
            return {
              type: 'line',
              shape: { x1: x - half, y1: y, x2: x + half, y2: y },
              style: { stroke: colours.text, lineWidth: 2.5 },
            };
          },
        },
      ],
      tooltip: {
        ...tipStyle(),
        formatter: (item) =>
          item.data?.background === undefined
            ? ''
            : tip(`background ${item.data.background + 1}`, [`${names[item.value[0]]} ${signed(item.value[1])}`]),
      },
    },
    260,
  );
}
