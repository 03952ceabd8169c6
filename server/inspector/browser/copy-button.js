/** Buttons that copy the text in their `data-copy`. Without a clipboard they stay hidden. */

const SHOWN_MS = 2000

/** @param {HTMLButtonElement} button */
async function copy(button) {
  const word = button.textContent ?? ''
  try {
    await navigator.clipboard.writeText(button.dataset.copy ?? '')
    button.textContent = 'Copied'
  } catch {
    button.textContent = 'Not copied'
  }
  setTimeout(() => {
    button.textContent = word
  }, SHOWN_MS)
}

// Browsers give a clipboard to pages that came over https or from this machine.
if (navigator.clipboard !== undefined) {
  const said = document.createElement('p')
  said.className = 'unseen'
  said.setAttribute('role', 'status')
  document.body.append(said)
  for (const button of document.querySelectorAll('button.copy')) {
    if (!(button instanceof HTMLButtonElement)) continue
    button.hidden = false
    button.addEventListener('click', async () => {
      await copy(button)
      said.textContent = button.textContent
    })
  }
}
