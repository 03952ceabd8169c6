/**
 * The folder of a witness, which nobody else may read:
 *
 *     DIR/lock            held while the witness runs
 *     DIR/key             the private key, 0600
 *     DIR/key.pub         the public key, for the policies of clients and logs
 *     DIR/state.sqlite    what was cosigned
 *     DIR/evidence-*.txt  two signed heads that nothing joins
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
  isKeyName,
  type NoteSigner,
  parseNoteSigner,
} from '../../client/verify/note-key.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { initWitnessState, openWitnessState, type WitnessState } from './witness-state.ts'

export interface WitnessFolder extends AsyncDisposable {
  readonly state: WitnessState
  readonly signer: NoteSigner
}

/**
 * Makes a new witness: a key, and a memory of nothing. Gives the public key. Throws `target_exists`
 * when one lives here, `usage` for a name that no key can have.
 */
export async function initWitness(folder: string, name: string): Promise<string> {
  if (!isKeyName(name))
    throw new ArtifactError('usage', 'Cannot make a witness: its name is not one of a key', {
      expected: 'a URL without scheme, for example witness.example.org/w1',
      found: name,
    })
  await mkdir(folder, { recursive: true, mode: 0o700 })
  if (existsSync(join(folder, 'key')))
    throw new ArtifactError('target_exists', `Cannot make a witness in ${folder}: there is one`)
  // The key comes last: a folder without one is no witness yet, and can be made again.
  const path = join(folder, 'state.sqlite')
  if (!existsSync(path)) initWitnessState(path)
  const key = formatNoteSigner(name, 'cosignature', randomBytes(32))
  const publicKey = formatNoteKey(parseNoteSigner(key).key)
  await writeDurable(join(folder, 'key.pub'), `${publicKey}\n`)
  await writeDurable(join(folder, 'key'), `${key}\n`)
  return publicKey
}

/** Opens a witness for this process. Throws `locked`, or `configuration` when key or memory is gone. */
export async function openWitness(folder: string): Promise<WitnessFolder> {
  if (!existsSync(join(folder, 'key')))
    throw new ArtifactError('configuration', `Cannot run a witness in ${folder}: there is none`, {
      expected: 'artifact witness init NAME --state-dir DIR',
    })
  await using stack = new AsyncDisposableStack()
  stack.use(await acquireLock(join(folder, 'lock')))
  const signer = await readKey(join(folder, 'key'))
  const state = stack.use(openWitnessState(join(folder, 'state.sqlite')))
  const held = stack.move()
  return { state, signer, [Symbol.asyncDispose]: () => held.disposeAsync() }
}

async function readKey(path: string): Promise<NoteSigner> {
  try {
    const signer = parseNoteSigner((await readFile(path, 'utf8')).trim())
    if (signer.key.kind === 'cosignature') return signer
  } catch {
    // Told below: the parser's error would quote the key.
  }
  throw new ArtifactError('configuration', `Cannot read the witness's key ${path}`, {
    expected: 'a key as artifact witness init makes it',
  })
}
