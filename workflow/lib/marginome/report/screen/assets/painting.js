/* How a locus is painted: all of it above, what is in sight below with its letters and elements. */

function paintLocus(width) {
  const locus = state.locus,
    { from, to } = state,
    left = 52,
    inner = width - left - 8,
    lanes = lanesOf(loci.elements[locus].filter((one) => one.end > from && one.start < to));
  const [above, main, tall] = [4, 58, 150],
    under = main + tall + 6,
    height = under + 18 * Math.max(1, lanes.length) + 34;
  const [canvas, context] = canvasOf(width, height, `Attributions of ${placeName({ locus, start: from, end: to })}`);
  canvas.tabIndex = 0;
  const edges = Array.from({ length: LOCI.bins + 1 }, (_, b) => Math.floor((b * LOCI.length) / LOCI.bins));
  const strongest = detail['#locus_bins'].subarray(locus * LOCI.bins, (locus + 1) * LOCI.bins),
    unit = detail['#locus_scale'][locus];
  const bars = (a, b, top, room, limits) => {
    const step = inner / (b - a),
      scale = room / (limits.high - limits.low || 1),
      zero = top + limits.high * scale;
    for (let bin = 0; bin < LOCI.bins; bin++) {
      if (edges[bin + 1] <= a || edges[bin] >= b) continue;
      const x = left + (Math.max(a, edges[bin]) - a) * step,
        end = left + (Math.min(b, edges[bin + 1]) - a) * step,
        value = strongest[bin] * unit * scale;
      context.fillRect(x, Math.min(zero, zero - value), Math.max(0.7, end - x - 0.3), Math.abs(value));
    }
    return zero;
  };
  const limits = (a, b) => {
    let high = 0,
      low = 0;
    for (let bin = 0; bin < LOCI.bins; bin++)
      if (edges[bin + 1] > a && edges[bin] < b) {
        high = Math.max(high, strongest[bin] * unit);
        low = Math.min(low, strongest[bin] * unit);
      }
    return { high, low };
  };
  // all of the locus, and what is in sight of it
  context.fillStyle = colours['accent-soft'];
  const whole = inner / LOCI.length;
  context.fillRect(left + from * whole, above, (to - from) * whole, 36);
  context.fillStyle = colours.muted;
  bars(0, LOCI.length, above, 36, limits(0, LOCI.length));
  context.strokeStyle = colours.accent;
  context.strokeRect(left + from * whole, above, Math.max(2, (to - from) * whole), 36);
  // what is in sight
  const seen = limits(from, to),
    step = inner / (to - from),
    scale = tall / (seen.high - seen.low || 1);
  const chosen = state.row >= 0 ? motifOf[state.row] : -1;
  const marked = (one) => one.group !== undefined && one.group === chosen;
  context.save();
  context.beginPath();
  context.rect(left, main, inner, height);
  context.clip();
  context.fillStyle = colours['accent-soft'];
  for (const one of lanes.flat())
    if (marked(one)) context.fillRect(left + (one.start - from) * step, main, (one.end - one.start) * step, tall);
  context.fillStyle = colours.null;
  const zero = bars(from, to, main, tall, seen);
  for (const span of loci.spansOf(locus)) {
    const a = Math.max(from, detail['#span_start'][span]),
      b = Math.min(to, detail['#span_end'][span]);
    if (a >= b) continue;
    context.clearRect(left + (a - from) * step, main, (b - a) * step, tall);
    context.fillStyle = colours['accent-soft'];
    for (const one of lanes.flat()) {
      const [x, end] = [Math.max(a, one.start), Math.min(b, one.end)];
      if (marked(one) && x < end) context.fillRect(left + (x - from) * step, main, (end - x) * step, tall);
    }
  }
  lettersOf(locus, from, to, (at, base, value) => {
    const x = left + (at - from) * step;
    if (step >= 3 && base !== 'N') stack(context, [[value, base]], x, step, zero, scale);
    else {
      context.fillStyle = colours[base] ?? colours.null;
      context.fillRect(x, Math.min(zero, zero - value * scale), Math.max(0.7, step), Math.abs(value * scale));
    }
  });
  context.fillStyle = colours['line-strong'];
  context.fillRect(left, zero, inner, 0.7);
  // the elements
  const hits = [];
  context.font = '11px system-ui, -apple-system, "Segoe UI", Roboto, "DejaVu Sans", Arial, sans-serif';
  context.textBaseline = 'middle';
  lanes.forEach((lane, i) =>
    lane.forEach((one) => {
      const x = left + (one.start - from) * step,
        wide = Math.max(3, (one.end - one.start) * step),
        top = under + 18 * i,
        row = rowOfElement(one);
      const value = row >= 0 ? number('attribution', row) : one.attribution;
      context.fillStyle = value > 0 ? colours.up : colours.down;
      if (one.pattern === undefined) context.fillRect(x, top + 2, wide, marked(one) ? 13 : 5);
      else {
        context.strokeStyle = context.fillStyle;
        context.strokeRect(x + 0.5, top + 2.5, wide - 1, marked(one) ? 12 : 5);
      }
      context.fillStyle = colours.text;
      context.fillText(one.name, x + wide + 4, top + 8);
      hits.push({ x, y: top, wide: wide + 6 + context.measureText(one.name).width, row, one });
    }),
  );
  context.restore();
  context.fillStyle = colours.muted;
  context.textAlign = 'right';
  context.fillText(format(seen.high, 2), left - 5, main + 5);
  if (seen.low < 0) context.fillText(format(seen.low, 2), left - 5, main + tall - 5);
  context.textAlign = 'left';
  const middle = under + 18 * Math.max(1, lanes.length) + 8;
  context.fillText(placeName({ locus, start: from, end: to }), left, middle + 14);
  context.textAlign = 'right';
  context.fillText(`${counted(to - from)} of ${counted(LOCI.length)} bp in sight`, left + inner, middle + 14);
  return { canvas, hits: { hits, left, inner, above } };
}

/** Elements in rows in which none overlaps; their names need room too. */
function lanesOf(elements) {
  const room = (8 * (state.to - state.from)) / Math.max(300, $('figure').clientWidth),
    lanes = [];
  for (const one of elements) {
    const end = Math.max(one.end, one.start) + room * (one.name.length + 1);
    const lane = lanes.find((l) => l.until <= one.start) ?? lanes[lanes.push(Object.assign([], { until: 0 })) - 1];
    lane.push(one);
    lane.until = end;
  }
  return lanes.slice(0, 8);
}
