/**
 * The lanes of the tests: which files each one has, and what a machine must offer to run it.
 *
 * A lane that cannot run is left out, named with its reason in the summary, and fails the run when
 * `CI` is set.
 */
import { existsSync, statfsSync } from 'node:fs'
import { request } from 'node:http'
import { tmpdir } from 'node:os'
import { CHROMIUM_VARIABLE, findChromium } from './chromium.ts'
import { findProgram } from './program-path.ts'

export interface Lane {
  name: string
  /** What it proves, in a few words. */
  summary: string
  /** Globs from the root of the checkout. */
  include: readonly string[]
  exclude?: readonly string[]
  /** Files whose `setup()` runs once before the lane. */
  globalSetup: readonly string[]
  /** Why it cannot run here; `undefined` when it can. */
  findObstacle: () => Promise<string | undefined>
}

const GIB = 1024 ** 3
/** Free bytes that a 4 GiB upload and download need: the object, the copy, and air. */
const BIG_FREE_BYTES = 12 * GIB

const database = 'test/support/database.ts'
const ceph = 'test/support/ceph.ts'
const nothing = async () => undefined

const unit = [
  'test/{tidy,check-install}.test.ts',
  'test/{schemas,verify,memory,disk,wire}/**/*.test.ts',
]
const containers = ['test/**/*container*.test.ts']
const s3 = ['test/**/*s3*.test.ts', 'test/s3/**/*.test.ts']
const browser = ['test/browser/**/*.test.ts']
const big = ['test/**/*big*.test.ts']
const interop = ['test/interop/**/*.test.ts']
const whole = ['test/{pack,readme,tour}.test.ts']

/** In the order in which they run. */
export const LANES: readonly Lane[] = [
  {
    name: 'unit',
    summary: 'schemas, verifier, memory, disk, tidiness',
    include: unit,
    globalSetup: [],
    findObstacle: nothing,
  },
  {
    name: 'integration',
    summary: 'real Postgres, real server, real command line, filesystem store',
    include: ['test/**/*.test.ts'],
    exclude: [...unit, ...containers, ...s3, ...browser, ...big, ...interop, ...whole],
    globalSetup: [database],
    findObstacle: nothing,
  },
  {
    name: 's3',
    summary: 'a real S3 gateway (Ceph), or any endpoint from the environment',
    include: s3,
    exclude: containers,
    globalSetup: [database, ceph],
    findObstacle: findS3Obstacle,
  },
  {
    name: 'browser',
    summary: 'the inspector as Chromium shows it',
    include: browser,
    globalSetup: [database],
    findObstacle: findBrowserObstacle,
  },
  {
    name: 'containers',
    summary: 'Postgres and S3 in containers',
    include: containers,
    globalSetup: [],
    findObstacle: findContainerObstacle,
  },
  {
    name: 'interop',
    summary: 'the log as Go, Sigstore and Python see it',
    include: interop,
    globalSetup: [],
    findObstacle: findInteropObstacle,
  },
  {
    name: 'big',
    summary: 'more than 4 GiB and thousands of files up and down',
    include: big,
    globalSetup: [database],
    findObstacle: findRoomObstacle,
  },
  {
    name: 'package',
    summary: 'the packed tarball, the tour, the examples of the README',
    include: whole,
    globalSetup: [],
    findObstacle: nothing,
  },
]

/** Environment variables that name an S3 endpoint; without them Ceph is started from its Debian packages. */
export const S3_ENDPOINT_VARIABLE = 'ARTIFACT_TEST_S3_ENDPOINT'

async function findS3Obstacle(): Promise<string | undefined> {
  if (process.env[S3_ENDPOINT_VARIABLE]) return undefined
  const missing = ['ceph-mon', 'ceph-osd', 'radosgw', 'radosgw-admin', 'ceph'].filter(
    (program) => findProgram(program) === undefined,
  )
  return missing.length === 0
    ? undefined
    : `no ${missing.join(', ')} here (apt-get install radosgw ceph-mon ceph-osd ceph-common) and ${S3_ENDPOINT_VARIABLE} is not set`
}

async function findBrowserObstacle(): Promise<string | undefined> {
  return findChromium() === undefined
    ? `no chromium here (apt-get install chromium, or set ${CHROMIUM_VARIABLE} to its path)`
    : undefined
}

async function findContainerObstacle(): Promise<string | undefined> {
  const host = process.env.DOCKER_HOST ?? 'unix:///var/run/docker.sock'
  if (!host.startsWith('unix://')) return undefined
  const status = await pingEngine(host.slice('unix://'.length))
  return status === 200 ? undefined : `no Docker engine answers at ${host}`
}

async function findInteropObstacle(): Promise<string | undefined> {
  const missing = ['go', 'python3'].filter((program) => findProgram(program) === undefined)
  if (!existsSync('/usr/share/gocode/src/golang.org/x/mod')) missing.push('golang.org/x/mod')
  return missing.length === 0
    ? undefined
    : `no ${missing.join(', ')} here (apt-get install golang-go golang-golang-x-mod-dev python3)`
}

async function findRoomObstacle(): Promise<string | undefined> {
  const { bavail, bsize } = statfsSync(tmpdir())
  const free = bavail * bsize
  return free >= BIG_FREE_BYTES
    ? undefined
    : `${tmpdir()} has ${(free / GIB).toFixed(1)} GiB free, ${BIG_FREE_BYTES / GIB} GiB are needed`
}

function pingEngine(socketPath: string): Promise<number | undefined> {
  return new Promise((resolve) => {
    const ping = request({ socketPath, path: '/_ping', timeout: 2000 }, (reply) => {
      reply.resume()
      resolve(reply.statusCode)
    })
    ping.on('timeout', () => ping.destroy())
    ping.on('error', () => resolve(undefined))
    ping.end()
  })
}
