/** Small pieces that all pages share: times, sizes, digests, names, empty states. */
import { html } from 'hono/html'
import {
  formatExactBytes,
  formatSize,
  formatUtc,
  groupDigest,
  revealText,
} from './browser/measures.js'

/** A piece of a page. Text that is put into a template is escaped, a piece is taken as it is. */
export type Html = ReturnType<typeof html>

/**
 * A moment; in UTC from here, made local in the browser with UTC in its title. `clock` is for moments
 * of today: the browser leaves the date away when it can.
 */
export function timeOf(instant: string, form: 'full' | 'clock' = 'full'): Html {
  return html`<time datetime="${instant}" data-form="${form}">${formatUtc(instant)}</time>`
}

/** A size in IEC units, exact bytes in its title. Decimal text as on the wire, or a number. */
export function sizeOf(bytes: string | bigint | number): Html {
  const exact = typeof bytes === 'string' ? BigInt(bytes) : bytes
  return html`<data class="size" value="${String(exact)}" title="${formatExactBytes(exact)}">${formatSize(exact)}</data>`
}

/** A digest in groups; what is selected and copied has no spaces in it. */
export function digestOf(sha256: string): Html {
  return html`<code class="digest">${groupDigest(sha256).map((group) => html`<span>${group}</span>`)}</code>`
}

/** A name from elsewhere: its direction cannot turn what stands around it, what is invisible is shown. */
export function nameOf(text: string): Html {
  return html`<bdi class="name">${revealText(text)}</bdi>`
}

/** What a page says when there is nothing: a sentence, and the command that changes it. */
export function emptyState(sentence: string, command?: string): Html {
  return html`<div class="empty"><p>${sentence}</p>${command === undefined ? '' : html`<pre><code>${command}</code></pre>`}</div>`
}
