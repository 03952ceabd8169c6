/**
 * A Ceph of one node with its S3 gateway, on loopback and in memory, from Debian's packages
 * (radosgw ceph-mon ceph-osd ceph-common). Run as a program of its own by `ceph.ts`:
 *
 *     node ceph-node.ts [--gib 6] [--host 127.0.0.1] [--disk FOLDER]
 *
 * With `--disk` objects lie in a file in that folder, with room for `--gib` GiB, instead of in memory.
 *
 * It prints one line of JSON when the gateway answers, and lives until its standard input ends. That
 * pipe is closed by the kernel when the process at its other end dies, however it dies, so no daemon
 * is left behind.
 */
import { type ChildProcess, execFile, spawn } from 'node:child_process'
import { randomBytes, randomUUID } from 'node:crypto'
import { once } from 'node:events'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { createServer } from 'node:net'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { parseArgs, promisify } from 'node:util'

const { values: flags } = parseArgs({
  options: {
    // A store that is full hangs instead of failing.
    gib: { type: 'string', default: '6' },
    host: { type: 'string', default: '127.0.0.1' },
    disk: { type: 'string' },
  },
})

/** Room for objects, in bytes. */
const STORE_BYTES = Number(flags.gib) * 1024 ** 3
const READY_MS = 60_000
const POLL_MS = 50

const run = promisify(execFile)

interface Node {
  folder: string
  conf: string
  monitorPort: number
  gatewayPort: number
  accessKeyId: string
  secretAccessKey: string
  daemons: ChildProcess[]
}

async function main(): Promise<void> {
  const folder = await mkdtemp(join(flags.disk ?? tmpdir(), 'artifact-ceph-'))
  const node: Node = {
    folder,
    conf: join(folder, 'ceph.conf'),
    monitorPort: await findFreePort(),
    gatewayPort: await findFreePort(),
    accessKeyId: `T${randomBytes(8).toString('hex')}`,
    secretAccessKey: randomBytes(20).toString('hex'),
    daemons: [],
  }
  const ended = once(process.stdin.resume(), 'end')
  try {
    await Promise.race([startNode(node), ended])
    const { gatewayPort, accessKeyId, secretAccessKey, conf } = node
    const endpoint = `http://${flags.host}:${gatewayPort}`
    process.stdout.write(`${JSON.stringify({ endpoint, accessKeyId, secretAccessKey, conf })}\n`)
    await ended
  } catch (error) {
    process.stderr.write(`${error}\n${await readLogs(folder)}\n`)
    process.exitCode = 1
  } finally {
    // There is nothing to save.
    for (const daemon of node.daemons) daemon.kill('SIGKILL')
    await rm(folder, { recursive: true, force: true, maxRetries: 5 })
  }
  process.stdin.destroy()
}

async function startNode(node: Node): Promise<void> {
  const { folder, conf } = node
  const clusterId = randomUUID()
  // The monitor drops the word of a store daemon whose id is not the one that was registered.
  const storeId = randomUUID()
  await Promise.all(['mon', 'osd', 'rgw'].map((name) => mkdir(join(folder, name))))
  await writeFile(conf, formatConfiguration(node, clusterId))
  const map = join(folder, 'monmap')
  const address = `[v1:127.0.0.1:${node.monitorPort}]`
  await run('monmaptool', ['--create', '--addv', 'a', address, '--fsid', clusterId, map])
  await run('ceph-mon', ['-c', conf, '--mkfs', '-i', 'a', '--monmap', map])
  startDaemon(node, 'ceph-mon', ['-i', 'a'])
  await ask(node, ['osd', 'new', storeId])
  await ask(node, ['osd', 'crush', 'create-or-move', '0', '1.0', 'host=here', 'root=default'])
  await run('ceph-osd', ['-c', conf, '-i', '0', '--mkfs', '--osd-uuid', storeId])
  startDaemon(node, 'ceph-osd', ['-i', '0'])
  await until('the store daemon is up', async () =>
    (await ask(node, ['osd', 'stat'])).includes(' 1 up'),
  )
  const words = ['-c', conf, '-n', 'client.rgw', 'user', 'create', '--uid=test']
  const keys = [`--access-key=${node.accessKeyId}`, `--secret=${node.secretAccessKey}`]
  await run('radosgw-admin', [...words, '--display-name=test', ...keys])
  startDaemon(node, 'radosgw', ['-n', 'client.rgw'])
  await until('the gateway answers', async () => {
    const reply = await fetch(`http://${flags.host}:${node.gatewayPort}/`)
    await reply.body?.cancel()
    return reply.ok
  })
}

function formatConfiguration(node: Node, clusterId: string): string {
  const { folder } = node
  return `[global]
fsid = ${clusterId}
mon host = v1:127.0.0.1:${node.monitorPort}
mon initial members = a
public addr = 127.0.0.1
cluster addr = 127.0.0.1
# The gateway cannot speak version 2 of the protocol without keys, and needs no keys here.
ms bind msgr2 = false
auth cluster required = none
auth service required = none
auth client required = none
# One copy, few placement groups: a pool is made in no time.
osd pool default size = 1
osd pool default min size = 1
osd pool default pg num = 4
osd pool default pgp num = 4
osd pool default pg autoscale mode = off
osd crush chooseleaf type = 0
mon allow pool size one = true
mon data avail crit = 1
mon data avail warn = 2
mon data = ${folder}/mon
osd data = ${folder}/osd
osd objectstore = ${flags.disk === undefined ? 'memstore' : 'bluestore'}
memstore device bytes = ${STORE_BYTES}
bluestore block size = ${STORE_BYTES}
# Both would run before the daemon has seen the map, and fail.
osd class update on start = false
osd crush update on start = false
# A decision every 50 ms instead of every second: starting is a row of decisions.
paxos propose interval = 0.05
paxos min wait = 0.02
run dir = ${folder}
admin socket =
log file = ${folder}/$name.log
mon cluster log file = ${folder}/cluster.log
[client.rgw]
rgw frontends = beast endpoint=${flags.host}:${node.gatewayPort}
rgw dns name = localhost
rgw data = ${folder}/rgw
rgw enable ops log = false
# What was deleted gives its memory back at once.
rgw gc obj min wait = 1
rgw gc processor period = 5
rgw gc processor max time = 5
`
}

function startDaemon(node: Node, program: string, words: readonly string[]): void {
  const daemon = spawn(program, ['-c', node.conf, '-f', ...words], { stdio: 'ignore' })
  daemon.on('error', () => undefined)
  node.daemons.push(daemon)
}

async function ask(node: Node, words: readonly string[]): Promise<string> {
  const { stdout } = await run('ceph', ['-c', node.conf, '--connect-timeout', '30', ...words])
  return stdout
}

/** Polls, since nothing tells. */
async function until(what: string, isDone: () => Promise<boolean>): Promise<void> {
  const deadline = performance.now() + READY_MS
  while (performance.now() < deadline) {
    if (await isDone().catch(() => false)) return
    await delay(POLL_MS)
  }
  throw new Error(`Cannot start Ceph: ${what} is not so after ${READY_MS / 1000} s`)
}

async function findFreePort(): Promise<number> {
  await using server = createServer().listen(0, '127.0.0.1')
  await once(server, 'listening')
  const address = server.address()
  if (address === null || typeof address === 'string') throw new Error('Cannot find a free port')
  return address.port
}

async function readLogs(folder: string): Promise<string> {
  const logs = ['mon.a.log', 'osd.0.log', 'client.rgw.log'].map(async (name) => {
    const text = await readFile(join(folder, name), 'utf8').catch(() => '')
    return `${name}:\n${text.split('\n').slice(-15).join('\n')}`
  })
  return (await Promise.all(logs)).join('\n')
}

await main()
