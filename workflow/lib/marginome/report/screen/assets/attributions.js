/* A section of the panel: logos of attributions around the insert, before and after. */

/** Logos before and after of one function: one scale for both, so that they can be compared. */
function attributionLogos(row, k, inner) {
  const block = meta.attributions[k],
    part = (name) => detail[`#attribution${k}_${name}`];
  const at = detailIndex.attributions[k].get(`${insertOf[row]} ${code('model', row)} ${code('background', row)}`);
  const { width } = block,
    size = 4 * width,
    from = part('which')[at] * size,
    step = part('step')[at],
    change = part('change').subarray(at * size, (at + 1) * size);
  const before = part('before').subarray(from, from + size);
  const sides = [
    ...(block.before ? [['before', before]] : []),
    ['after', Float32Array.from(change, (c, i) => before[i] + c * step)],
  ];
  let high = 0,
    low = 0;
  for (const [, v] of sides)
    for (let i = 0; i < width; i++) {
      let up = 0,
        down = 0;
      for (let b = 0; b < 4; b++) {
        const x = v[b * width + i];
        if (x > 0) up += x;
        else down += x;
      }
      high = Math.max(high, up);
      low = Math.min(low, down);
    }
  const left = 46,
    top = 7,
    tall = 84,
    first = part('first')[at],
    start = number('start', row),
    insertWidth = show('insert', row).length;
  const columnWidth = (inner - left) / width,
    scale = tall / (high - low || 1),
    zero = top + high * scale;
  const what = [block.function, block.output && `of ${block.output}`].filter(Boolean).join(' ');
  const out = [element('p', { className: 'note' }, `${what || 'Attribution'}${block.unit ? ` (${block.unit})` : ''}`)];
  sides.forEach(([which, v], number) => {
    const last = number === sides.length - 1,
      height = top + tall + (last ? 34 : 8);
    const [canvas, context] = canvasOf(
      inner,
      height,
      `${what}, ${which} the insert: from ${format(low, 2)} to ${format(high, 2)} ` +
        `in positions ${first} to ${first + width - 1}`,
    );
    context.fillStyle = colours.sunken;
    if (start === start) context.fillRect(left + (start - first) * columnWidth, top, insertWidth * columnWidth, tall);
    for (let i = 0; i < width; i++) {
      const column = [0, 1, 2, 3].map((b) => [v[b * width + i], 'ACGT'[b]]);
      stack(context, column, left + i * columnWidth, columnWidth, zero, scale);
    }
    context.fillStyle = colours['line-strong'];
    context.fillRect(left, zero, inner - left, 0.7);
    context.fillRect(left - 1, top, 1, tall);
    context.fillStyle = colours.muted;
    context.font = '11px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", Arial, sans-serif';
    context.textBaseline = 'middle';
    context.textAlign = 'right';
    context.fillText(format(high, 2), left - 5, top + 2);
    if (zero - top > 14 && top + tall - zero > 14) context.fillText('0', left - 5, zero);
    context.fillText(low < 0 ? format(low, 2) : '0', left - 5, top + tall - 2);
    context.textAlign = 'left';
    context.fillStyle = colours.text;
    context.fillText(which, left + 4, top + 7);
    if (last) {
      const marks = [first, ...(start === start ? [start, start + insertWidth - 1] : []), first + width - 1];
      let taken = -Infinity;
      context.fillStyle = colours.muted;
      marks.forEach((position, i) => {
        const text = String(position),
          half = context.measureText(text).width / 2,
          x = left + (position - first + 0.5) * columnWidth;
        const place = Math.min(Math.max(x, left + half), inner - half);
        if (place - half < taken + 6 && i) return;
        taken = place + half;
        context.fillRect(x, top + tall, 1, 4);
        context.textAlign = 'center';
        context.fillText(text, place, top + tall + 12);
      });
      context.textAlign = 'center';
      context.fillText('position in the sequence (bp)', left + (inner - left) / 2, top + tall + 27);
    }
    out.push(canvas);
  });
  return out;
}

function attributionSection(row, out, inner) {
  if (!detail) return;
  const mine = [],
    missing = [];
  meta.attributions.forEach((block, k) => {
    const any = detail[`#attribution${k}_rows`];
    if (
      !any.length ||
      code('model', any[0]) !== code('model', row) ||
      code('background', any[0]) !== code('background', row)
    )
      return;
    (detailIndex.attributions[k].has(`${insertOf[row]} ${code('model', row)} ${code('background', row)}`)
      ? mine
      : missing
    ).push(k);
  });
  if (!mine.length && !missing.some((k) => meta.attributions[k].n < meta.attributions[k].of)) return;
  out.push(element('h3', {}, 'Attributions around the insert'));
  const own = mine.filter((k) => meta.attributions[k].output === show('output', row)),
    others = mine.filter((k) => !own.includes(k));
  for (const k of own) out.push(...attributionLogos(row, k, inner));
  if (others.length) {
    const folded = element(
      'details',
      { className: 'others' },
      element('summary', {}, `Of other outputs (${others.length})`),
    );
    folded.addEventListener('toggle', () => {
      if (folded.open && folded.children.length === 1)
        for (const k of others) folded.append(...attributionLogos(row, k, inner));
    });
    out.push(folded);
  }
  const short = missing.filter((k) => meta.attributions[k].n < meta.attributions[k].of)[0];
  if (short !== undefined)
    out.push(
      element('p', { className: 'note' }, onlyStrongest('Attributions', meta.attributions[short], 'functions.h5')),
    );
  else if (mine.length)
    out.push(
      element(
        'p',
        { className: 'note' },
        'Mean over backgrounds of the attribution of the bases that are there, without the insert and with it, ' +
          'on one scale. The shaded place is the insert.',
      ),
    );
}
