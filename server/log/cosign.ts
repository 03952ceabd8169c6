/**
 * The log's side of C2SP tlog-witness v1.0.0: every head is offered to the witnesses that are
 * configured, with a proof that it continues the one they saw last.
 *
 * A witness that fails is left alone for a while, so that it slows nobody down; what it has missed
 * it gets with the next head, or with the same one again.
 */
import {
  type Hash,
  proveConsistency,
  type ReadHashes,
  type TreeHead,
} from '../../client/verify/merkle.ts'
import type { PolicyWitness } from '../../client/verify/policy.ts'
import {
  formatNote,
  type NoteSignature,
  parseNote,
  verifySignatures,
} from '../../client/verify/signed-note.ts'
import { formatBase64, parseDecimal } from '../../client/verify/strict-text.ts'
import { ArtifactError } from '../../schemas/problems.ts'

/** For all that one witness says, and before a witness that failed is asked again. */
const PATIENCE_MS = 2000
const REST_MS = 10_000
/** Longest answer of a witness; a few signature lines. */
const REPLY_LENGTH_MAX = 16_384

export interface CosignedNote {
  note: string
  /** Witnesses whose cosignature it has. */
  count: number
  /** It has one that the last note for this head had not. */
  isNew: boolean
}

export interface Cosigner {
  /** The note with the cosignatures that come in time. Never throws: what fails is told of. */
  cosign(note: string, head: TreeHead, readHashes: ReadHashes): Promise<CosignedNote>
  /** Whether a witness that has not cosigned this note may be asked again by now. */
  isWaiting(note: string): boolean
}

export interface CosignerOptions {
  onFault(witness: string, error: unknown): void
  patienceMs?: number
  restMs?: number
  /** In milliseconds; only differences matter. */
  now?: () => number
}

interface WitnessState {
  witness: PolicyWitness
  /** Address for heads. */
  url: string
  /** Of the newest head that it has seen, as far as is known. */
  size: number
  restsUntil: number
  /** What it said, and to which text. */
  said: { text: string; signature: NoteSignature } | undefined
}

/** Throws `configuration` for a witness without an address. */
export function createCosigner(
  witnesses: readonly PolicyWitness[],
  options: CosignerOptions,
): Cosigner {
  const { restMs = REST_MS, now = () => performance.now() } = options
  const states: WitnessState[] = witnesses.map((witness) => ({
    witness,
    url: addressOf(witness),
    size: 0,
    restsUntil: 0,
    said: undefined,
  }))
  const isMissing = (state: WitnessState, text: string) =>
    state.said?.text !== text && now() >= state.restsUntil

  return {
    isWaiting(note) {
      const { text } = parseNote(note)
      return states.some((state) => isMissing(state, text))
    },
    async cosign(note, head, readHashes) {
      const { text, signatures } = parseNote(note)
      const asked = states.filter((state) => isMissing(state, text))
      const answers = await Promise.all(
        asked.map(async (state) => {
          try {
            const signature = await ask(state, note, head, readHashes, options.patienceMs)
            state.said = { text, signature }
            return true
          } catch (error) {
            state.restsUntil = now() + restMs
            options.onFault(state.witness.name, error)
            return false
          }
        }),
      )
      const said = states.flatMap((state) =>
        state.said?.text === text ? [state.said.signature] : [],
      )
      return {
        note: formatNote({ text, signatures: [...signatures, ...said] }),
        count: said.length,
        isNew: answers.includes(true),
      }
    },
  }
}

/** Offers a head; when the witness has seen another one than was thought, once more from there. */
async function ask(
  state: WitnessState,
  note: string,
  head: TreeHead,
  readHashes: ReadHashes,
  patienceMs: number = PATIENCE_MS,
): Promise<NoteSignature> {
  const signal = AbortSignal.timeout(patienceMs)
  for (let isSecond = false; ; isSecond = true) {
    const proof = await proveFrom(state, head, readHashes)
    const reply = await fetch(state.url, {
      method: 'POST',
      body: `old ${state.size}\n${proof.map((hash) => `${formatBase64(hash)}\n`).join('')}\n${note}`,
      headers: { 'content-type': 'text/plain; charset=utf-8' },
      redirect: 'error',
      signal,
    })
    const text = await readReply(reply)
    if (reply.status === 200) {
      state.size = head.size
      return findSignature(state.witness, note, text)
    }
    const known = reply.status === 409 ? parseDecimal(text.trim()) : undefined
    if (known === undefined || isSecond)
      throw new ArtifactError('log_policy', `Cannot get a cosignature of ${state.witness.name}`, {
        expected: 'status 200',
        found: `status ${reply.status}: ${text.slice(0, 200)}`,
      })
    state.size = known
  }
}

async function proveFrom(
  { size, witness }: WitnessState,
  head: TreeHead,
  readHashes: ReadHashes,
): Promise<Hash[]> {
  if (size > head.size)
    throw new ArtifactError('log_rollback', `Cannot ask ${witness.name}: it has seen more`, {
      expected: `at least ${size} leaves`,
      found: `${head.size} leaves`,
    })
  if (size === 0 || size === head.size) return []
  return proveConsistency(size, head.size, readHashes)
}

async function readReply(reply: Response): Promise<string> {
  let text = ''
  const decoder = new TextDecoder()
  for await (const chunk of reply.body ?? []) {
    text += decoder.decode(chunk, { stream: true })
    if (text.length > REPLY_LENGTH_MAX) throw new Error('The answer of the witness is too long')
  }
  return text
}

/** The cosignature by the key of the witness, and nothing else of what it said. */
function findSignature(witness: PolicyWitness, note: string, lines: string): NoteSignature {
  const offered = parseNote(`${note}${lines}`)
  const { name, id } = witness.key
  const own = offered.signatures.filter((one) => one.name === name && one.id === id)
  const [signature] = own
  if (signature !== undefined && own.length === 1) {
    verifySignatures({ text: offered.text, signatures: own }, [witness.key])
    return signature
  }
  throw new ArtifactError('log_signature', `Cannot take the answer of ${witness.name}`, {
    expected: `one signature by ${name}+${id}`,
    found: `${own.length}`,
  })
}

function addressOf({ name, url }: PolicyWitness): string {
  const address = url === undefined ? null : URL.parse(`${url.replace(/\/+$/, '')}/add-checkpoint`)
  if (address !== null && /^https?:$/.test(address.protocol)) return address.href
  throw new ArtifactError('configuration', `Cannot ask the witness ${name}: it has no address`, {
    expected: 'witness NAME KEY URL',
  })
}
