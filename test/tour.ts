/**
 * `npm run tour [-- FILE]`: the promise, shown with the real command line. A server on an empty data
 * folder takes a real file in parts, seals it, gives it back verified, and then meets a tampered
 * copy. Exits 0 only if every step held; leaves nothing behind.
 */
import { createHash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { chmod, mkdir, open, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { basename, join, resolve } from 'node:path'
import postgres from 'postgres'
import { Artifact } from '../schemas/artifact.ts'
import { EXITS } from '../schemas/problems.ts'
import { makePlace, type Place, runProgram, startOwnServer } from './support/own-server.ts'

const root = join(import.meta.dirname, '..')
/** The Node binary that `npm ci` installs: some 120 MB, 25 parts. */
const nodeBinary = join(root, 'node_modules', 'node', 'bin', 'node')
const PARTS_WANTED = 20

/** Runs one command as a person would, and shows it; returns its stdout. */
type Run = (
  args: readonly string[],
  options?: { exit?: number; isShown?: boolean },
) => Promise<string>

async function tour(place: Place, file: string, signal: AbortSignal): Promise<void> {
  const run: Run = async (args, { exit = EXITS.done, isShown = true } = {}) => {
    if (isShown) say(`$ artifact ${args.join(' ')}`)
    const outcome = await runProgram(place, args, { stderr: 'inherit', signal })
    if (isShown && outcome.stdout !== '') say(outcome.stdout.trimEnd())
    if (outcome.exit !== exit)
      throw new Error(`artifact ${args[0]}: expected exit ${exit}, found ${outcome.exit}`)
    return outcome.stdout
  }
  const { size } = await stat(file)
  say('1. A server on an empty data folder: embedded Postgres, bytes in a folder.')
  await using server = await startOwnServer(place, signal)
  say(`  ready after ${server.readySeconds.toFixed(1)} s`)
  const receipt = join(place.folder, 'receipt')
  const record = await showUpload(run, file, size, receipt)
  await showRun(run, record, join(place.folder, 'SHA256SUMS'))
  await showGet(run, record, file, join(place.folder, 'back'))
  await showRefusal(run, record, place)
  await showReceipt(run, file, receipt, place)
  await showRewrittenRecord(run, place)
  hold('the server stops cleanly', await server.stop(), 0)
}

async function showUpload(
  run: Run,
  file: string,
  size: number,
  receipt: string,
): Promise<Artifact> {
  say(`\n2. Upload ${size} bytes in parts; the store refuses every part whose SHA-256 differs.`)
  const reference =
    (await run(['upload', file, 'tour', '--receipt', receipt])).trim().split('\n').at(-1) ?? ''
  say('\n3. The sealed record. Nothing in it ever changes.')
  await run(['info', reference])
  const record = Artifact.parse(
    JSON.parse(await run(['info', reference, '--json'], { isShown: false })),
  )
  hold('the record has the SHA-256 of the file', record.sha256, await hashFile(file))
  hold('the record has its size', record.sizeBytes, String(size))
  if (file === nodeBinary)
    hold(`it went up in ${record.partCount} parts`, record.partCount >= PARTS_WANTED, true)
  return record
}

async function showRun(run: Run, record: Artifact, sums: string): Promise<void> {
  const wholeRun = `${record.task}/${record.run}`
  say('\n4. The run, and its checksums from the record alone.')
  await run(['ls', wholeRun])
  await run(['checksums', wholeRun, '-o', sums])
  const line = `${record.sha256}  ${record.name}\n`
  hold('SHA256SUMS names the file', await readFile(sums, 'utf8'), line)
}

async function showGet(run: Run, record: Artifact, file: string, folder: string): Promise<void> {
  say('\n5. Get it back. It is verified before it is there.')
  await mkdir(folder)
  const copy = join(folder, basename(file))
  await run(['get', record.reference, '--verify', '-o', copy])
  hold('the copy has the same SHA-256', await hashFile(copy), record.sha256)
  hold('the copy has the same bytes', await isSame(file, copy), true)
}

async function showRefusal(run: Run, record: Artifact, place: Place): Promise<void> {
  say('\n6. Flip one bit of the stored object behind the back of the server, and get it again.')
  say(`  ${await flipBit(place.dataFolder, BigInt(record.sizeBytes))}`)
  const folder = join(place.folder, 'tampered')
  await mkdir(folder)
  const target = join(folder, basename(record.name))
  await run(['get', record.reference, '--verify', '-o', target], { exit: EXITS.integrity })
  say(`  held: it is refused with exit ${EXITS.integrity}`)
  hold('nothing is left behind', (await readdir(folder)).join(), '')
}

async function showReceipt(run: Run, file: string, receipt: string, place: Place): Promise<void> {
  say('\n7. The receipt proves without the server that this very file is in the log.')
  const key = (await readFile(join(place.dataFolder, 'signer', 'key.pub'), 'utf8')).trim()
  say((await readFile(receipt, 'utf8')).replace(/^extra .*$/m, 'extra …').trimEnd())
  await run(['verify', file, '--receipt', receipt, '--log-key', key])
}

/** The worst insider: superuser of Postgres, with a hand in the store. */
async function showRewrittenRecord(run: Run, place: Place): Promise<void> {
  say('\n8. Rewrite a record and its bytes together, as the superuser of Postgres, and get it.')
  const [good, evil] = ['pay 100 to Ann\n', 'pay 999 to Eve\n']
  const file = join(place.folder, 'order.txt')
  await writeFile(file, good)
  const reference = (await run(['upload', file, 'orders'])).trim().split('\n').at(-1) ?? ''
  await rewriteRecord(place.dataFolder, reference, Buffer.from(evil))
  const folder = join(place.folder, 'rewritten')
  await mkdir(folder)
  const target = join(folder, 'order.txt')
  await run(['get', reference, '-o', target], { exit: EXITS.integrity })
  say(`  held: it is refused with exit ${EXITS.integrity}, though record and bytes agree`)
  hold('nothing is left behind', (await readdir(folder)).join(), '')
}

/** Makes record and stored object say `content`, triggers off, as if it had always been so. */
async function rewriteRecord(
  dataFolder: string,
  reference: string,
  content: Buffer,
): Promise<void> {
  const folder = join(dataFolder, 'postgres')
  const [, , , port] = (await readFile(join(folder, 'data', 'postmaster.pid'), 'utf8')).split('\n')
  const password = (await readFile(join(folder, 'admin-password'), 'utf8')).trim()
  const sql = postgres({
    host: '127.0.0.1',
    port: Number(port),
    user: 'postgres',
    password,
    database: 'artifact',
  })
  const digest = createHash('sha256').update(content).digest()
  const [task = '', run = '', name = ''] = reference.split('/')
  await sql`alter table artifact.artifact disable trigger all`
  const [row] = await sql<[{ blob_key: string }]>`
    update artifact.artifact set sha256 = ${digest}, part_sha256s = ${digest}
    where task = ${task} and run = ${Number(run)} and name = ${name} returning blob_key`
  await sql.end()
  const object = join(dataFolder, 'store', row.blob_key)
  await chmod(object, 0o600)
  await writeFile(object, content)
  say(`  the record of ${reference} has another SHA-256 now, and the stored bytes have it too`)
}

function hold(what: string, found: unknown, expected: unknown): void {
  if (found !== expected) throw new Error(`${what}: expected ${expected}, found ${found}`)
  say(`  held: ${what}`)
}

async function hashFile(path: string): Promise<string> {
  const hash = createHash('sha256')
  for await (const chunk of createReadStream(path, { highWaterMark: 1024 ** 2 })) hash.update(chunk)
  return hash.digest('hex')
}

async function isSame(left: string, right: string): Promise<boolean> {
  await using one = await open(left)
  await using two = await open(right)
  const [a, b] = [Buffer.alloc(1024 ** 2), Buffer.alloc(1024 ** 2)]
  for (;;) {
    const [x, y] = await Promise.all([one.read(a, 0, a.length), two.read(b, 0, b.length)])
    if (x.bytesRead !== y.bytesRead) return false
    if (!a.subarray(0, x.bytesRead).equals(b.subarray(0, y.bytesRead))) return false
    if (x.bytesRead === 0) return true
  }
}

/** Flips the lowest bit in the middle of the only stored object of that size; returns what it did. */
async function flipBit(dataFolder: string, sizeBytes: bigint): Promise<string> {
  const entries = await readdir(dataFolder, { recursive: true, withFileTypes: true })
  for (const entry of entries) {
    const path = join(entry.parentPath, entry.name)
    if (!entry.isFile() || !entry.parentPath.includes('blobs')) continue
    if ((await stat(path, { bigint: true })).size !== sizeBytes) continue
    await chmod(path, 0o600)
    await using object = await open(path, 'r+')
    const at = Number(sizeBytes / 2n)
    const byte = Buffer.alloc(1)
    await object.read(byte, 0, 1, at)
    const before = byte.readUInt8()
    byte.writeUInt8(before ^ 1)
    await object.write(byte, 0, 1, at)
    return `byte ${at} of ${path}: ${before} is ${before ^ 1} now`
  }
  throw new Error(`no stored object of ${sizeBytes} bytes is in ${dataFolder}`)
}

function say(line: string): void {
  process.stdout.write(`${line}\n`)
}

async function main(): Promise<number> {
  const started = performance.now()
  const interrupted = new AbortController()
  for (const name of ['SIGINT', 'SIGTERM'] as const) process.once(name, () => interrupted.abort())
  // npm runs scripts in the root of the package; the path is relative to where the person is.
  const [given] = process.argv.slice(2)
  const file = given === undefined ? nodeBinary : resolve(process.env.INIT_CWD ?? '.', given)
  await using place = await makePlace(join(root, 'server', 'main.ts'))
  try {
    await tour(place, file, interrupted.signal)
    say(`\nEvery step held, in ${((performance.now() - started) / 1000).toFixed(1)} s.`)
    return EXITS.done
  } catch (error) {
    const reason = error instanceof Error ? error.message : String(error)
    process.stderr.write(`\nThe tour failed: ${reason}\n`)
    return interrupted.signal.aborted ? EXITS.interrupted : EXITS.unexpected
  }
}

process.exitCode = await main()
