/** A signer in this process: its folder, its own connection to Postgres, its loop. */
import { randomBytes } from 'node:crypto'
import { parsePolicy } from '../../client/verify/policy.ts'
import { ArtifactError } from '../../schemas/problems.ts'
import { readSecretFile } from '../config.ts'
import type { Logger } from '../logger.ts'
import { openDatabase, type Sql } from '../records/database.ts'
import { findLogKey, readHead } from '../records/log.ts'
import { type Cosigner, createCosigner } from './cosign.ts'
import { hasSigner, initSigner, openSigner } from './signer-folder.ts'
import { startSigning } from './signer-loop.ts'

export interface SignerRunOptions {
  /** As the role `artifact_signer`. */
  databaseUrl: string
  folder: string
  /** Name of a new log. */
  origin: string | undefined
  /** Path of a policy whose witnesses cosign; none when absent. */
  witnessPolicyFile?: string | undefined
  log: Logger
}

/**
 * Runs the signer of a folder until it is disposed of. Where nothing was ever signed and nothing is
 * to sign, it makes a new one; otherwise a missing one is `configuration`: a signer without its
 * memory would sign whatever it is shown.
 */
export async function runSigner(options: SignerRunOptions): Promise<AsyncDisposable> {
  const { folder, log } = options
  await using stack = new AsyncDisposableStack()
  const { sql } = stack.use(
    await openDatabase({
      url: options.databaseUrl,
      connectionsMax: 2,
      applicationName: 'artifact signer',
    }),
  )
  if (!hasSigner(folder)) await initFirst(sql, options)
  const cosigner = await openCosigner(options)
  const { state, signer } = stack.use(await openSigner(folder))
  stack.use(
    await startSigning(
      { sql, state, signer, cosigner },
      {
        onSigned: (note) => log.debug({ head: note.split('\n').slice(0, 2) }, 'signed'),
        onFault: (error, isAlarm) =>
          log.error({ err: error, isAlarm }, isAlarm ? 'THE LOG WAS ALTERED' : 'signer failed'),
      },
    ),
  )
  const held = stack.move()
  return { [Symbol.asyncDispose]: () => held.disposeAsync() }
}

/** Throws `configuration` for a policy that cannot be read, or a witness without an address. */
async function openCosigner({
  witnessPolicyFile: path,
  log,
}: SignerRunOptions): Promise<Cosigner | undefined> {
  if (path === undefined) return undefined
  const { witnesses } = parsePolicy(await readSecretFile(path))
  return createCosigner(witnesses, {
    onFault: (witness, error) => log.warn({ witness, err: error }, 'a witness did not cosign'),
  })
}

async function initFirst(sql: Sql, { folder, origin, log }: SignerRunOptions): Promise<void> {
  const { size } = await readHead(sql)
  const known = await findLogKey(sql)
  if (size > 0 || known !== undefined)
    throw new ArtifactError('configuration', `Cannot sign the log: ${folder} has no signer`, {
      expected: `the key and the state of ${known?.origin ?? 'the log'}, restored`,
      found: `a log of ${size} leaves, and no memory of it`,
    })
  const name = origin ?? `artifact.local/${randomBytes(6).toString('hex')}`
  await initSigner(folder, name)
  log.info({ origin: name, folder }, 'made a new log')
}
