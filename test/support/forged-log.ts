/**
 * What a dishonest operator could do who has the key of the log: another history, signed all the
 * same, and shown instead of the true one.
 */
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { proveInclusion } from '../../client/verify/merkle.ts'
import { type NoteSigner, parseNoteSigner } from '../../client/verify/note-key.ts'
import { formatReceipt } from '../../client/verify/proof.ts'
import { createTileReader } from '../../client/verify/tile-reader.ts'
import type { Fault } from './fault-proxy.ts'
import { buildStaticLog, serveTiles } from './static-log.ts'

/** The signer of a test server that was started as `signed`. */
export async function stealSigner(dataFolder: string): Promise<NoteSigner> {
  return parseNoteSigner((await readFile(join(dataFolder, 'signer', 'key'), 'utf8')).trim())
}

export interface ForgedLog {
  /** The receipt of a leaf under the forged head. */
  receipt(index: number): Promise<string>
  /** The forged file at an address, as an answer; `undefined` for what is no file of a log. */
  answer(path: string): Fault | undefined
  /** The signed head. */
  note: string
}

/** The log of these leaves. Partial tiles of smaller heads are answered too. */
export function forgeLog(leaves: readonly Uint8Array[], signer: NoteSigner): ForgedLog {
  const { head, files } = buildStaticLog(leaves, signer)
  const note = Buffer.from(files.get('checkpoint') ?? []).toString()
  for (let size = 1; size < leaves.length; size++)
    for (const [path, bytes] of buildStaticLog(leaves.slice(0, size), signer).files)
      if (!files.has(path)) files.set(path, bytes)
  return {
    note,
    async receipt(index) {
      const readNodes = createTileReader(head, serveTiles(files))
      const proof = await proveInclusion(index, head.size, readNodes)
      const extra = leaves[index]
      return formatReceipt({ ...(extra && { extra }), index, proof, checkpoint: note })
    },
    answer(path) {
      if (path !== '/checkpoint' && !path.startsWith('/tile/')) return undefined
      const body = files.get(path.slice(1))
      return body === undefined
        ? { kind: 'answer', status: 404 }
        : { kind: 'answer', status: 200, body }
    },
  }
}
