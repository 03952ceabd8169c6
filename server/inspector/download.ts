/** The place of the verified download on the page of an artifact; `browser/verified-download.js` fills it. */
import { html } from 'hono/html'
import type { Artifact } from '../../schemas/artifact.ts'
import type { Statement } from '../../schemas/statement.ts'
import type { StoredArtifact } from '../records/artifacts.ts'
import type { Store } from '../stores/store.ts'
import { addressOfContent, addressOfRecord } from './addresses.ts'
import type { Html } from './pieces.ts'

/** Where the bytes come from when that is another origin than the page's, as with a bucket. */
export async function findStoreOrigin(
  store: Pick<Store, 'grantRead'>,
  { blobKey, blobTag, artifact }: StoredArtifact,
): Promise<string | undefined> {
  // Signed here and thrown away: nothing is asked of the store.
  const { url } = await store.grantRead(blobKey, blobTag, {
    fileName: 'name',
    contentType: artifact.contentType,
    ttlSeconds: 1,
    bound: true,
  })
  return URL.parse(url)?.origin
}

/** A button, its progress, and what can be said before anything is downloaded. */
export function formatDownload(
  artifact: Artifact,
  mayGet: boolean,
  statements: readonly Statement[],
  origin: string | undefined,
): Html {
  if (statements.some(({ kind }) => kind === 'remove'))
    return html`<p>Its bytes were removed, so neither the command nor the page can get it. The record stays.</p>`
  if (statements.length > 0)
    return html`<p>It was revoked, so neither the command nor the page can get it.</p>`
  if (!mayGet) return html`<p>Your token may list this artifact, and may not get it.</p>`
  return html`<div id="download" data-content="${addressOfContent(artifact)}" data-parts="${addressOfRecord(artifact, '/parts')}" data-file="${fileNameOf(artifact.name)}" data-type="${artifact.contentType}" data-size="${artifact.sizeBytes}" data-sha256="${artifact.sha256}" data-part-count="${artifact.partCount}"${origin === undefined ? '' : html` data-store="${origin}"`}>
<p class="download-controls"><button type="button" class="primary" id="download-start" hidden>Download, verified</button>
<button type="button" id="download-cancel" hidden>Cancel</button></p>
<div id="download-progress" hidden><progress id="download-bar" max="1000" value="0" aria-labelledby="download-words"></progress></div>
<p id="download-numbers" class="numbers"></p>
<p id="download-words" role="status"></p>
<div id="download-refusal"></div>
<noscript><p>Without JavaScript this page cannot check what it downloads, so it offers the command alone.</p></noscript>
<p class="fine">The browser hashes the bytes while they come and keeps the file only if its size, every part and the whole agree with the record on this page. It takes this page at its word for the record; the command also checks the proof against a log that it remembers.</p>
</div>`
}

/** What a file of this name is called where it is kept: its last segment, nothing that turns or hides. */
function fileNameOf(name: string): string {
  const last = name.split('/').at(-1) ?? name
  return last.replace(/[\p{Cc}\p{Cf}\p{Zl}\p{Zp}<>:"|?*]/gu, '_')
}
