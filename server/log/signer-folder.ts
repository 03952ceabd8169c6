/**
 * The folder of a signer: what makes it a trust domain of its own.
 *
 *     DIR/lock            held while a signer runs
 *     DIR/key             the private key, 0600: PRIVATE+KEY+origin+id+key
 *     DIR/key.pub         the public key, for clients and auditors
 *     DIR/state.sqlite    what was signed, and every sealed name
 */
import { randomBytes } from 'node:crypto'
import { existsSync } from 'node:fs'
import { mkdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { writeDurable } from '../../client/disk/durable.ts'
import { acquireLock } from '../../client/disk/lock.ts'
import {
  formatNoteKey,
  formatNoteSigner,
  type NoteSigner,
  parseNoteSigner,
} from '../../client/verify/note-key.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { initSignerState, openSignerState, type SignerState } from './signer-state.ts'

export interface SignerFolder extends AsyncDisposable {
  readonly state: SignerState
  readonly signer: NoteSigner
}

/** Whether a signer lives here. */
export function hasSigner(folder: string): boolean {
  return existsSync(join(folder, 'key'))
}

/**
 * Makes a new signer: a key, and a memory of nothing. `origin` names the log for ever, as a URL
 * without scheme, for example `artifacts.example.com/log`. Throws `target_exists` when one lives here.
 */
export async function initSigner(folder: string, origin: string): Promise<void> {
  await mkdir(folder, { recursive: true, mode: 0o700 })
  if (hasSigner(folder))
    throw new ArtifactError('target_exists', `Cannot make a signer in ${folder}: there is one`)
  // The key comes last: a folder without one is no signer yet, and can be made again.
  initSignerState(join(folder, 'state.sqlite'), origin)
  const key = formatNoteSigner(origin, 'note', randomBytes(32))
  await writeDurable(join(folder, 'key.pub'), `${formatNoteKey(parseNoteSigner(key).key)}\n`)
  await writeDurable(join(folder, 'key'), `${key}\n`)
}

/** Opens a signer for this process. Throws `locked`, or `configuration` when key or memory is gone. */
export async function openSigner(folder: string): Promise<SignerFolder> {
  await using stack = new AsyncDisposableStack()
  stack.use(await acquireLock(join(folder, 'lock')))
  const signer = await readKey(join(folder, 'key'))
  const state = stack.use(openSignerState(join(folder, 'state.sqlite')))
  if (state.origin !== signer.key.name)
    throw new ArtifactError('configuration', `Cannot sign with ${folder}: key and state differ`, {
      expected: state.origin,
      found: signer.key.name,
    })
  const held = stack.move()
  return { state, signer, [Symbol.asyncDispose]: () => held.disposeAsync() }
}

/** The public key of a signer, as clients and auditors are given it. */
export async function readPublicKey(folder: string): Promise<string> {
  return formatNoteKey((await readKey(join(folder, 'key'))).key)
}

async function readKey(path: string): Promise<NoteSigner> {
  try {
    return parseNoteSigner((await readFile(path, 'utf8')).trim())
  } catch {
    // The parser's error would quote the key.
    throw new ArtifactError('configuration', `Cannot read the signer's key ${path}`, {
      expected: 'a key as artifact signer --init makes it',
    })
  }
}
