/** Postgres refuses to run as root: as whom it runs then, and what that account can reach. */
import { execFile } from 'node:child_process'
import { chmod, chown, stat } from 'node:fs/promises'
import { dirname } from 'node:path'
import { promisify } from 'node:util'
import { ArtifactError } from '../../schemas/problems.ts'

/** Another account to run as; `undefined` stands for our own. */
export interface Account {
  uid: number
  gid: number
}

const NAME = 'postgres'
const run = promisify(execFile)

/**
 * The account `postgres` when this process is root, made when it is missing; else `undefined`.
 * Throws `configuration` when it cannot be made.
 */
export async function findAccount(log: (message: string) => void): Promise<Account | undefined> {
  if (process.getuid?.() !== 0) return undefined
  const found = await readAccount()
  if (found !== undefined) return found
  log(`making the system account ${NAME}, since Postgres does not run as root`)
  try {
    await run('groupadd', ['--system', '--force', NAME])
    await run('useradd', [
      ...['--system', '--gid', NAME, '--no-create-home', '--home-dir', '/nonexistent'],
      ...['--shell', '/usr/sbin/nologin', NAME],
    ])
  } catch (error) {
    throw new ArtifactError(
      'configuration',
      `Cannot start the embedded database: it does not run as root, and the account ${NAME} cannot be made; ` +
        'make it, or start as another user',
      { cause: error },
    )
  }
  const made = await readAccount()
  if (made === undefined) throw new Error(`Cannot find the account ${NAME} after making it`)
  return made
}

async function readAccount(): Promise<Account | undefined> {
  try {
    const [uid, gid] = await Promise.all([run('id', ['-u', NAME]), run('id', ['-g', NAME])])
    return { uid: Number(uid.stdout), gid: Number(gid.stdout) }
  } catch {
    return undefined
  }
}

/**
 * Lets the account pass through every folder above `path`. Of those it opens one itself: the direct
 * parent, when it is root's own and closed to everybody else; its group becomes the account's, which
 * may pass and not list. Throws `configuration` naming the first folder that stays closed.
 */
export async function openWay(path: string, account: Account): Promise<void> {
  const parent = dirname(path)
  for (const folder of ancestors(path)) {
    if (await mayPass(folder, account)) continue
    const found = await stat(folder)
    const isOurs = folder === parent && found.uid === 0 && found.gid === 0
    if (!isOurs || (found.mode & 0o077) !== 0) throw closed(path, folder)
    await chown(folder, 0, account.gid)
    await chmod(folder, (found.mode & 0o7777) | 0o010)
  }
}

/** From the root down to the parent of `path`. */
function ancestors(path: string): string[] {
  const parent = dirname(path)
  return parent === path ? [] : [...ancestors(parent), parent]
}

async function mayPass(folder: string, account: Account): Promise<boolean> {
  const { mode, uid, gid } = await stat(folder)
  if (uid === account.uid) return (mode & 0o100) !== 0
  if (gid === account.gid) return (mode & 0o010) !== 0
  return (mode & 0o001) !== 0
}

function closed(path: string, folder: string): ArtifactError {
  return new ArtifactError(
    'configuration',
    `Cannot start the embedded database in ${path}: as root it runs as the account ${NAME}, to which ${folder} is closed; ` +
      `choose a data folder such as /var/lib/artifact, or let ${NAME} pass (chmod o+x ${folder})`,
  )
}
