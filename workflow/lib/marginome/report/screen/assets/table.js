/* The table: only the rows in sight are in the document. */

const ROW = 40;
const narrow = () => innerWidth <= 640;

function shownColumns() {
  const list = [
    { id: '#logo', title: 'Logo', plain: true },
    { id: 'motif_name', title: LOCI ? 'Element' : 'Motif' },
  ];
  if (!has('motif_name')) list[1].id = 'motif_id';
  if (!LOCI) list.push({ id: 'orientation', title: 'Strand', minor: true });
  for (const name of ['model', 'output', 'background', 'start', 'gap', 'sample'])
    if (varies(name) && (!FILTERS.includes(name) || state[name] === ''))
      list.push({
        id: name,
        title: name[0].toUpperCase() + name.slice(1),
        num: columns.get(name).kind !== 'text',
        minor: true,
      });
  if (given('attribution')) list.push({ id: 'attribution', title: 'Attribution', num: true });
  if (!LOCI || given('effect')) list.push({ id: 'effect', title: LOCI ? 'Effect alone' : 'Effect', num: true });
  for (const [name, title] of [
    ['q', 'q'],
    ['z', 'z'],
    ['interaction', 'Interaction'],
  ])
    if (given(name)) list.push({ id: name, title, num: true, minor: name !== 'q' });
  if (given('ci_low')) list.push({ id: 'ci_low', title: '95 % interval', minor: true, ci: true });
  if (given('family')) list.push({ id: 'family', title: 'Family', minor: true });
  if (given('sign_consistency')) list.push({ id: 'sign_consistency', title: 'Same sign', num: true, minor: true });
  return list;
}

const SIZED = new Set(['effect', 'attribution', 'z', 'interaction']); // also sorted by absolute value
let shown = [];

function drawHead() {
  shown = shownColumns();
  const row = element('tr');
  shown.forEach((column, i) => {
    const cell = element('th', {
      scope: 'col',
      className: `${column.num ? 'num ' : ''}${column.minor ? 'minor ' : ''}${column.plain ? 'plain' : ''}`,
    });
    cell.setAttribute('aria-colindex', i + 1);
    if (column.plain) cell.textContent = column.title;
    else {
      const active = state.sort === column.id;
      cell.setAttribute('aria-sort', !active ? 'none' : state.dir === 'asc' ? 'ascending' : 'descending');
      const arrow = !active ? '' : state.dir === 'asc' ? '▲' : state.dir === 'desc' ? '▼' : '▼ size';
      const button = element(
        'button',
        { type: 'button', title: `${meta.help[column.id] ?? ''} Click to sort.`.trim() },
        column.title,
        element('span', { className: 'arrow' }, arrow),
      );
      button.addEventListener('click', () => {
        const cycle =
          column.num || column.ci
            ? SIZED.has(column.id)
              ? ['desc', 'asc', 'size']
              : ['q', 'p'].includes(column.id)
                ? ['asc', 'desc']
                : ['desc', 'asc']
            : ['asc', 'desc'];
        state.dir = active ? cycle[(cycle.indexOf(state.dir) + 1) % cycle.length] : cycle[0];
        state.sort = column.id;
        update({ keepRow: true });
        $('thead').querySelectorAll('th')[i]?.querySelector('button')?.focus();
      });
      cell.append(button);
    }
    row.append(cell);
  });
  $('thead').replaceChildren(row);
}

function cell(column, row) {
  const out = element('td', { className: `${column.num ? 'num ' : ''}${column.minor ? 'minor ' : ''}` });
  if (column.id === '#logo' && placeOfRow(row)) out.append(smallLogo(row, narrow() ? 84 : 120, 32));
  else if (column.id === '#logo') {
    const w = pwmOf(motifOf[row]).width;
    out.append(
      logo(
        motifOf[row],
        show('orientation', row),
        Math.min(narrow() ? 84 : innerWidth <= 1400 ? 100 : 124, Math.max(40, w * 9)),
        32,
      ),
    );
  } else if (column.id === 'motif_name' || column.id === 'motif_id') {
    out.append(element('span', { className: 'strong' }, rowName(row)));
    const id = show('motif_id', row);
    if (id !== rowName(row)) out.append(element('span', { className: 'id' }, id));
    if (given('partner_id') && show('partner_id', row))
      out.append(element('span', { className: 'id' }, `+ ${show('partner_id', row)}`));
    if (has('insert')) out.append(element('span', { className: 'insert' }, show('insert', row)));
    out.title = `${rowName(row)} ${id}${has('insert') ? `\n${show('insert', row)}` : ''}`;
  } else if (SIZED.has(column.id)) {
    const x = number(column.id, row);
    out.textContent = signed(x);
    if (column.id === 'effect') out.classList.add('strong', significant(row) ? (x > 0 ? 'up' : 'down') : 'plain');
    out.title = column.id === 'effect' ? effectTitle(row) : '';
  } else if (column.ci) {
    out.classList.add('ci');
    out.textContent = interval(row);
  } else if (column.id === 'sign_consistency')
    out.textContent = Number.isNaN(number(column.id, row)) ? '' : `${Math.round(100 * number(column.id, row))} %`;
  else if (column.id === 'family') {
    out.classList.add('family');
    out.textContent = familyName(show('family', row));
    out.title = out.textContent;
  } else if (column.id === 'orientation') out.textContent = signs(show('orientation', row));
  else {
    out.textContent = show(column.id, row);
    out.title = out.textContent;
  }
  return out;
}

const scroller = $('table');
let drawn = '';

function drawRows(force) {
  const top = scroller.scrollTop,
    head = $('thead').offsetHeight;
  const first = Math.max(0, Math.floor(top / ROW) - 4),
    last = Math.min(view.length, Math.ceil((top + scroller.clientHeight - head) / ROW) + 4);
  const key = `${first} ${last}`;
  if (!force && key === drawn) return;
  drawn = key;
  const pad = (rows, id) => {
    const td = element('td', { colSpan: shown.length });
    td.style.height = `${rows * ROW}px`;
    const tr = element('tr', { className: 'pad' }, td);
    tr.setAttribute('aria-hidden', 'true');
    tr.dataset.pad = id;
    return tr;
  };
  const out = [pad(first, 'top')];
  for (let i = first; i < last; i++) {
    const row = view[i];
    const tr = element('tr', { className: 'row', id: `row-${row}` }, ...shown.map((c) => cell(c, row)));
    tr.dataset.position = i;
    tr.setAttribute('aria-rowindex', i + 2);
    tr.setAttribute('aria-selected', row === state.row);
    out.push(tr);
  }
  out.push(pad(view.length - last, 'bottom'));
  $('tbody').replaceChildren(...out);
  scroller.querySelector('table').setAttribute('aria-rowcount', view.length + 1);
}

let waiting = false;
scroller.addEventListener(
  'scroll',
  () => {
    if (waiting) return;
    waiting = true;
    requestAnimationFrame(() => {
      waiting = false;
      drawRows();
    });
  },
  { passive: true },
);
const positionOf = (row) => view.indexOf(row);

function reveal(position) {
  const head = $('thead').offsetHeight,
    top = position * ROW,
    room = scroller.clientHeight - head;
  if (top < scroller.scrollTop) scroller.scrollTop = top;
  else if (top + ROW > scroller.scrollTop + room) scroller.scrollTop = top + ROW - room;
}

$('tbody').addEventListener('click', (event) => {
  const tr = event.target.closest('tr.row');
  if (tr) choose(view[tr.dataset.position], { jump: true });
});
scroller.addEventListener('keydown', (event) => {
  if (event.target !== scroller) return;
  const page = Math.max(1, Math.floor(scroller.clientHeight / ROW) - 2);
  const moves = { ArrowDown: 1, ArrowUp: -1, PageDown: page, PageUp: -page, Home: -Infinity, End: Infinity };
  if (event.key in moves && view.length) {
    event.preventDefault();
    const at = positionOf(state.row);
    const next = at < 0 ? 0 : Math.min(view.length - 1, Math.max(0, at + moves[event.key]));
    choose(view[next]);
    reveal(next);
  } else if (event.key === 'Enter') {
    event.preventDefault();
    $('detail').focus();
    $('detail').scrollIntoView({ block: 'nearest' });
  }
});
