/** What people copy: commands and digests. Selectable as text; with JavaScript a button copies it. */
import { html } from 'hono/html'
import { type Html, nameOf } from './pieces.ts'

/** A command with a button. In its short form the button alone shows, the command when it is asked for. */
export function copyable(command: string, form: 'whole' | 'short' = 'whole'): Html {
  const code = html`<code class="command" translate="no">${nameOf(command)}</code>`
  const button = html`<button type="button" class="copy" data-copy="${command}" hidden>Copy</button>`
  if (form === 'whole') return html`<span class="copyable">${code}${button}</span>`
  return html`<details class="copyable-fold"><summary>Show</summary>${code}</details>${button}`
}

/** The first digits of a digest; all of them in its title, and with a button that copies them. */
export function shortDigest(sha256: string): Html {
  return html`<span class="digest-pair"><code class="digest digest-short" title="${sha256}">${sha256.slice(0, 12)}…</code> <button type="button" class="copy" data-copy="${sha256}" aria-label="Copy SHA-256 ${sha256.slice(0, 12)}" hidden>Copy</button></span>`
}
