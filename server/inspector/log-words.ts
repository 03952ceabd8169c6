/** Checkpoints and receipts in plain words. What is said of a signature is checked, the rest is quoted. */
import { html } from 'hono/html'
import { type Checkpoint, parseCheckpoint } from '../../client/verify/checkpoint.ts'
import { hashLeaf } from '../../client/verify/merkle.ts'
import { parseNoteKey } from '../../client/verify/note-key.ts'
import { trustLog } from '../../client/verify/policy.ts'
import { type CheckedReceipt, checkReceipt, parseReceipt } from '../../client/verify/proof.ts'
import { parseNote } from '../../client/verify/signed-note.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { type Html, nameOf, timeOf } from './pieces.ts'
import { markOf } from './standing.ts'

/** Of a cosignature: eight bytes of time before the signature (C2SP tlog-cosignature). */
const COSIGNATURE_BYTES = 8 + 64

/** Somebody else who signed a checkpoint. */
export interface Cosigner {
  name: string
  /** 8 hexadecimal digits. */
  id: string
  /** When it cosigned; `undefined` for a signature of another kind. */
  at: string | undefined
}

/** A signed head, taken apart. */
export interface ReadCheckpoint extends Checkpoint {
  /** Key ids under the name of the log. */
  signerIds: string[]
  cosigners: Cosigner[]
}

/** Takes a checkpoint apart without judging it. Throws `log_malformed`. */
export function readCheckpoint(note: string): ReadCheckpoint {
  const { text, signatures } = parseNote(note)
  const checkpoint = parseCheckpoint(text)
  const isOwn = ({ name }: { name: string }) => name === checkpoint.origin
  return {
    ...checkpoint,
    signerIds: signatures.filter(isOwn).map(({ id }) => id),
    cosigners: signatures
      .filter((signature) => !isOwn(signature))
      .map(({ name, id, signature }) => ({ name, id, at: readCosignedAt(signature) })),
  }
}

function readCosignedAt(signature: Uint8Array): string | undefined {
  if (signature.length !== COSIGNATURE_BYTES) return undefined
  const seconds = Number(Buffer.from(signature).readBigUInt64BE(0))
  // Later than the year 9999 is no time that anybody cosigned at.
  return seconds < 253_402_300_800 ? new Date(seconds * 1000).toISOString() : undefined
}

/** Witnesses in a list, or that there are none. */
export function formatCosigners(cosigners: readonly Cosigner[]): Html {
  if (cosigners.length === 0)
    return html`<p>No witness cosigned it: that this log shows everybody the same is the word of its signer alone.</p>`
  return html`<ul class="plain">
${cosigners.map(
  ({ name, id, at }) =>
    html`<li>${nameOf(name)} <code>${id}</code>${at === undefined ? '' : html`, ${timeOf(at)}`}</li>
`,
)}</ul>
<p class="fine">The page quotes cosignatures; whoever pins the witnesses checks them, as <code>artifact log show</code> does.</p>`
}

/** What a receipt says, in words, and the receipt itself behind a fold. `vkey` is the key that the server names. */
export function formatReceiptWords(receipt: string, vkey: string | undefined): Html {
  const { checkpoint, index, proof } = parseReceipt(receipt)
  const head = readCheckpoint(checkpoint)
  const checked = vkey === undefined ? undefined : tryReceipt(receipt, vkey)
  const leaf = checked instanceof ArtifactError ? undefined : checked?.leaf
  return html`<p>${
    checked === undefined || checked instanceof ArtifactError
      ? markOf('bad', html`The proof does not hold: ${checked?.message ?? 'the key is not known'}`)
      : markOf('good', 'The proof holds, checked by this server for this page')
  }</p>
<p>This artifact is leaf <strong>${index}</strong> of the log ${nameOf(head.origin)}. ${proof.length} hashes lead from it to the signed root of <strong>${head.size}</strong> leaves, so its digest cannot be changed, and it cannot be left out, without everybody who keeps a checkpoint noticing.</p>
<dl class="facts">
<div><dt>Signed by</dt><dd>${nameOf(head.origin)} ${head.signerIds.map((id) => html`<code>${id}</code> `)}</dd></div>
<div><dt>Witnesses</dt><dd>${formatCosigners(head.cosigners)}</dd></div>
</dl>
<details><summary>The receipt itself</summary>
<p>Keep it: <code>artifact verify</code> checks it without asking this server. C2SP tlog-proof, version 1.</p>
${leaf === undefined ? '' : html`<h4>Leaf</h4><pre class="raw">${new TextDecoder().decode(leaf)}</pre><p class="fine">Its hash: <code>${Buffer.from(hashLeaf(leaf)).toString('hex')}</code></p>`}
<h4>Receipt</h4><pre class="raw">${receipt}</pre></details>`
}

function tryReceipt(receipt: string, vkey: string): CheckedReceipt | ArtifactError {
  try {
    return checkReceipt(parseReceipt(receipt), undefined, trustLog(parseNoteKey(vkey)))
  } catch (error) {
    if (error instanceof ArtifactError) return error
    throw error
  }
}
