/* A section of the panel: the mean profile before and after. */

function profileSection(row, section, out) {
  if (!detail) return;
  meta.profiles.forEach((block, k) => {
    const at = detailIndex.profiles[k].get(`${insertOf[row]} ${code('model', row)} ${code('background', row)}`);
    const any = detail[`#profile${k}_rows`];
    const mine =
      any.length &&
      code('model', any[0]) === code('model', row) &&
      code('background', any[0]) === code('background', row);
    if (!mine) return;
    if (at === undefined) {
      if (block.n < block.of)
        out.push(
          element('p', { className: 'note' }, onlyStrongest(`Profiles of ${block.output}`, block, 'profiles.h5')),
        );
      return;
    }
    // where the bases of a value are not known (bp is 0), values are counted
    const { strands, length } = block,
      wide = block.bp || block.values,
      first = block.bp ? block.first : 0,
      before = detail[`#profile${k}_before`],
      change = detail[`#profile${k}_change`].subarray(at * strands * length, (at + 1) * strands * length);
    const series = [];
    const start = number('start', row),
      width = show('insert', row).length;
    const line = (name, colour, values, widthOf) => ({
      type: 'line',
      name,
      data: values,
      showSymbol: false,
      lineStyle: { color: colour, width: widthOf },
      itemStyle: { color: colour },
      z: widthOf > 1.2 ? 3 : 2,
      sampling: 'minmax',
      emphasis: { disabled: true },
    });
    for (let s = 0; s < strands; s++) {
      const sign = strands === 2 && s === 1 ? -1 : 1,
        b = [],
        a = [];
      for (let i = 0; i < length; i++) {
        const x = first + (i + 0.5) * wide - 0.5,
          v = before[s * length + i];
        b.push([x, sign * v]);
        a.push([x, sign * (v + change[s * length + i] * block.step)]);
      }
      const name = strands === 2 ? (s ? MINUS : '+') : strands === 1 ? '' : `track ${s + 1}`;
      series.push(
        line(`before ${name}`.trim(), colours.null, b, 1.2),
        line(`after ${name}`.trim(), s ? colours.down : colours.up, a, 1.6),
      );
    }
    if (start === start && width && block.bp)
      series[0].markArea = {
        silent: true,
        itemStyle: { color: colours.accent, opacity: 0.22 },
        data: [[{ xAxis: start }, { xAxis: start + width }]],
      };
    section(
      block.output === 'profile' ? 'Mean profile' : `Mean profile, ${block.output}`,
      (node) =>
        chart(
          node,
          {
            grid: { left: 58, right: 14, top: 30, bottom: 42 },
            xAxis: axis(block.bp ? 'position in the sequence (bp)' : 'number of the value', {
              min: first,
              max: first + length * wide,
            }),
            yAxis: axis('probability', {
              nameGap: 46,
              splitNumber: 4,
              axisLabel: {
                color: colours.muted,
                fontSize: 11,
                formatter: (v) => String(Number(Math.abs(v).toPrecision(3))),
              },
            }),
            series,
            legend: {
              top: 0,
              left: 0,
              itemWidth: 14,
              itemHeight: 8,
              textStyle: { color: colours.muted, fontSize: 11 },
              icon: 'roundRect',
            },
            tooltip: {
              trigger: 'axis',
              ...tipStyle(),
              formatter: (ps) =>
                tip(
                  `position ${ps[0].axisValue}`,
                  ps.map((p) => `${p.seriesName}: ${format(Math.abs(p.value[1]))}`),
                ),
            },
            dataZoom: [{ type: 'inside', zoomOnMouseWheel: 'ctrl', moveOnMouseWheel: false, filterMode: 'none' }],
            toolbox: {
              ...pngButton('profile'),
              feature: {
                dataZoom: {
                  yAxisIndex: 'none',
                  title: { zoom: 'Zoom by dragging', back: 'Zoom back' },
                  filterMode: 'none',
                },
                saveAsImage: pngButton('profile').feature.saveAsImage,
              },
            },
          },
          strands === 2 ? 250 : 210,
        ),
      `Mean over backgrounds${wide > 1 ? `, bins of ${wide} ${block.bp ? 'bp' : 'values'}` : ''}` +
        `${strands === 2 ? '; the minus strand points down' : ''}. ` +
        (block.bp
          ? 'The shaded place is the insert.'
          : 'Which bases a value is of is not known: bin of the output in the config says it.'),
    );
  });
}
