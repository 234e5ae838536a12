/* Letters on a canvas, the logo of a motif. */

const glyphs = (() => {
  // each letter's ink box at 100 px, to stretch it to the height it stands for
  const context = document.createElement('canvas').getContext('2d');
  context.font = 'bold 100px Arial, Helvetica, "Liberation Sans", sans-serif';
  return Object.fromEntries(
    [...'ACGT'].map((letter) => {
      const m = context.measureText(letter);
      return [
        letter,
        {
          left: -m.actualBoundingBoxLeft,
          width: m.actualBoundingBoxRight + m.actualBoundingBoxLeft,
          ascent: m.actualBoundingBoxAscent,
          height: m.actualBoundingBoxAscent + m.actualBoundingBoxDescent,
        },
      ];
    }),
  );
})();

function letter(context, base, x, top, width, height) {
  if (height < 0.4) return;
  const g = glyphs[base];
  context.save();
  context.fillStyle = colours[base];
  context.translate(x, top);
  context.scale(width / g.width, height / g.height);
  context.font = 'bold 100px Arial, Helvetica, "Liberation Sans", sans-serif';
  context.fillText(base, -g.left, g.ascent);
  context.restore();
}

/** A column of letters as high as numbers say, [number, letter] each, above and below zero, the largest outermost. */
function stack(context, column, x, width, zero, scale) {
  let up = zero,
    down = zero;
  for (const [value, base] of [...column].sort((a, b) => Math.abs(a[0]) - Math.abs(b[0]))) {
    const height = Math.abs(value) * scale;
    if (value > 0) {
      letter(context, base, x, up - height, width, height);
      up -= height;
    } else {
      letter(context, base, x, down, width, height);
      down += height;
    }
  }
}

function canvasOf(width, height, label) {
  const canvas = document.createElement('canvas'),
    ratio = Math.max(1, Math.min(devicePixelRatio || 1, 3));
  canvas.width = Math.round(width * ratio);
  canvas.height = Math.round(height * ratio);
  canvas.style.width = `${width}px`;
  canvas.style.height = `${height}px`;
  if (label) {
    canvas.setAttribute('role', 'img');
    canvas.setAttribute('aria-label', label);
  } else canvas.setAttribute('aria-hidden', 'true');
  const context = canvas.getContext('2d');
  context.scale(ratio, ratio);
  return [canvas, context];
}

/** Information content logo (0 to 2 bits), reverse complemented for orientation -. */
function logo(motif, orientation, width, height, label) {
  const [canvas, context] = canvasOf(width, height, label);
  const { width: w, p } = pwmOf(motif);
  if (!w) return canvas;
  const step = Math.min(width / w, height * 0.8),
    reverse = orientation === '-';
  for (let i = 0; i < w; i++) {
    const column = [];
    let total = 0;
    for (let b = 0; b < 4; b++) total += p[4 * (reverse ? w - 1 - i : i) + (reverse ? 3 - b : b)];
    if (!total) continue;
    let bits = 2;
    for (let b = 0; b < 4; b++) {
      const share = p[4 * (reverse ? w - 1 - i : i) + (reverse ? 3 - b : b)] / total;
      if (share > 0) bits += share * Math.log2(share);
      column.push([share, 'ACGT'[b]]);
    }
    column.sort((a, b) => a[0] - b[0]);
    let base = height;
    for (const [share, which] of column) {
      const tall = ((share * bits) / 2) * height;
      letter(context, which, i * step + 0.03 * step, base - tall, 0.94 * step, tall);
      base -= tall;
    }
  }
  return canvas;
}
