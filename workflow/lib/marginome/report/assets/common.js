'use strict';
/* Shared by every page: the theme, copying text, short messages. */

function toast(text) {
  document.querySelector('.toast')?.remove();
  const box = document.createElement('div');
  box.className = 'toast';
  box.setAttribute('role', 'status');
  box.textContent = text;
  document.body.append(box);
  setTimeout(() => box.remove(), 2500);
}

/* navigator.clipboard is refused to files from disk in some browsers: then the text is selected and copied the old way. */
async function copyText(text) {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    const area = document.createElement('textarea');
    area.value = text;
    area.style.position = 'fixed';
    area.style.opacity = '0';
    document.body.append(area);
    area.select();
    const done = document.execCommand('copy');
    area.remove();
    return done;
  }
}

document.getElementById('theme')?.addEventListener('click', () => {
  const root = document.documentElement;
  root.dataset.theme = root.dataset.theme === 'dark' ? 'light' : 'dark';
  try {
    localStorage.setItem('marginome-theme', root.dataset.theme);
  } catch {
    /* storage is off for files from disk: the choice lasts as long as the page */
  }
  document.dispatchEvent(new Event('themechange'));
});

for (const button of document.querySelectorAll('button[data-copy]')) {
  button.addEventListener('click', async () => {
    const done = await copyText(document.getElementById(button.dataset.copy).textContent);
    toast(done ? 'Copied' : 'The browser did not allow copying');
  });
}
