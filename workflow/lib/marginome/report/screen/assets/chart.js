/* What all charts share: axes, tooltips, buttons. */

const charts = new Map();

function chart(node, option, height) {
  node.style.height = `${height}px`;
  let made = charts.get(node);
  if (made && made.isDisposed()) made = null;
  if (!made) {
    made = echarts.init(node, null, { renderer: 'canvas' });
    charts.set(node, made);
  } else made.resize();
  made.setOption(
    {
      animation: false,
      textStyle: { fontFamily: 'system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", Arial, sans-serif' },
      ...option,
    },
    true,
  );
  return made;
}

const axis = (name, extra = {}) => ({
  name,
  nameLocation: 'middle',
  nameGap: 26,
  nameTextStyle: { color: colours.muted, fontSize: 12 },
  axisLabel: {
    color: colours.muted,
    fontSize: 11,
    hideOverlap: true,
    formatter: (v) => signs(String(Number(v.toPrecision(10)))),
  },
  axisLine: { show: true, lineStyle: { color: colours['line-strong'] } },
  axisTick: { show: false },
  splitLine: { lineStyle: { color: colours.line, opacity: 0.6 } },
  scale: true,
  ...extra,
});

/** A tooltip made of text nodes: nothing in a name is read as markup. */
function tip(title, lines) {
  const box = element('div', {}, element('b', {}, title));
  for (const line of lines) if (line) box.append(element('div', {}, line));
  return box;
}

const tipStyle = () => ({
  backgroundColor: colours.card,
  borderColor: colours['line-strong'],
  textStyle: { color: colours.text, fontSize: 12 },
  extraCssText: 'max-width: 340px; white-space: normal; overflow-wrap: anywhere;',
  confine: true,
});
const rowTip = (row) =>
  tip(rowLabel(row), [
    show('motif_id', row),
    [show('model', row), show('output', row), show('background', row)].filter(Boolean).join(' · '),
    `effect ${signed(number('effect', row))} ${effectTitle(row)}`,
    given('z') ? `z ${signed(number('z', row))}` : '',
    hasQ ? `q ${show('q', row)}` : '',
  ]);

function pngButton(name) {
  return {
    right: 0,
    top: -4,
    itemSize: 13,
    iconStyle: { borderColor: colours.muted },
    feature: {
      dataZoom: { title: { zoom: 'Zoom by dragging', back: 'Zoom back' }, filterMode: 'none' },
      saveAsImage: { name: `${meta.name}.${name}`, title: 'Save as PNG', backgroundColor: colours.card, pixelRatio: 3 },
    },
  };
}
