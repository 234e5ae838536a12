/* What all charts of a screen share: the tooltip of a row, buttons. */

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
