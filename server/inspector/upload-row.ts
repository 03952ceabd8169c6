/**
 * One upload as a row. The browser fills a copy of the blank row by the same fields, so what stands
 * where is said here alone: `data-field` names what `browser/upload-row.js` writes.
 */
import { html } from 'hono/html'
import { artifactPath } from './browser/addresses.js'
import { formatUtc, groupDigest, revealText } from './browser/measures.js'
import type { UploadFacts } from './browser/upload-facts.js'
import { BAR_MAX, formatReference, type UploadView } from './browser/upload-words.js'
import type { Html } from './pieces.ts'

/** What a row is filled with. */
export interface RowContent {
  facts: UploadFacts
  view: UploadView
}

/** The address of a sprite of states. */
type Icons = (state: string) => string

/** A row; without content the blank that the browser copies. */
export function uploadRow(icons: Icons, content?: RowContent): Html {
  const { facts, view } = content ?? {}
  const state = view?.state ?? 'sending'
  return html`<li class="upload" data-state="${state}" ${facts === undefined ? '' : html`data-id="${facts.id}" data-facts="${JSON.stringify(facts)}"`}>
<div class="upload-head">
<p class="upload-state"><svg class="icon" aria-hidden="true" focusable="false"><use data-field="icon" href="${icons(state)}"></use></svg><span data-field="word">${view?.word}</span></p>
<div class="upload-title"><h3 class="upload-name">${facts === undefined ? blankName() : nameOfUpload(facts)}</h3>
<p class="upload-attempt" data-field="attempt" title="${facts?.restartedAt ? formatUtc(facts.restartedAt) : ''}">${view?.attempt}</p></div>
<p class="upload-percent" data-field="percent">${view?.percent}</p>
</div>
<div class="bars" aria-hidden="true">${bar('sent', view?.sent)}${bar('verified', view?.verified ?? undefined, view?.verified === null || view === undefined)}</div>
<p class="upload-facts">
<span data-field="amount" title="${view?.exact}">${view?.amount}</span>
<span data-field="pace">${view?.pace}</span>
<span data-field="left">${view?.left}</span>
<span class="upload-who">by <bdi data-field="who">${revealText(facts?.who ?? '')}</bdi></span>
<span data-field="moved" title="${facts === undefined ? '' : formatUtc(facts.movedAt)}">${view?.moved}</span>
</p>
${problemOf(facts, view)}
<p class="upload-digest" data-field="digestLine" ${facts?.sha256 ? '' : html`hidden`}><span>SHA-256</span> <code class="digest" data-field="digest">${groups(facts?.sha256 ?? '')}</code></p>
</li>
`
}

function nameOfUpload(facts: UploadFacts): Html {
  const reference = formatReference(facts)
  return facts.state === 'sealed'
    ? html`<a data-field="link" href="${artifactPath(facts)}"><bdi data-field="reference">${reference}</bdi></a>`
    : html`<a data-field="link"><bdi data-field="reference">${reference}</bdi></a>`
}

/** A link without an address is text until the upload is sealed. */
function blankName(): Html {
  return html`<a data-field="link"><bdi data-field="reference"></bdi></a>`
}

/** A bar beside the words, which say the same: no `value` while the size is not known. */
function bar(field: string, value: number | null | undefined, isHidden = false): Html {
  const position = value === null || value === undefined ? '' : html`value="${value}"`
  return html`<progress class="bar bar-${field}" data-field="${field}" max="${BAR_MAX}" ${position} ${isHidden ? html`hidden` : ''}></progress>`
}

function problemOf(facts: UploadFacts | undefined, view: UploadView | undefined): Html {
  const problem = facts?.problem
  const isMismatch = (problem?.expected ?? problem?.found ?? null) !== null
  return html`<div class="upload-problem" data-field="problem" ${problem ? '' : html`hidden`}>
<p data-field="problemTitle">${view?.problem}</p>
<dl data-field="mismatch" ${isMismatch ? '' : html`hidden`}>
<dt>expected</dt><dd><code class="digest" data-field="expected">${groups(problem?.expected ?? 'nothing')}</code></dd>
<dt>found</dt><dd><code class="digest" data-field="found">${groups(problem?.found ?? 'nothing')}</code></dd>
</dl>
</div>`
}

/** A digest in groups that the eye can compare; other text as it is. */
function groups(text: string): Html {
  if (!/^[0-9a-f]{64}$/.test(text)) return html`<span>${revealText(text)}</span>`
  return html`${groupDigest(text).map((group) => html`<span>${group}</span>`)}`
}
