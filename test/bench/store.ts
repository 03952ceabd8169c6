/**
 * The S3 store that everybody is measured against: a Ceph gateway of our own, in memory, or one that
 * is given.
 */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { CreateBucketCommand } from '@aws-sdk/client-s3'
import pLimit from 'p-limit'
import { z } from 'zod'
import { type Bucket, openBucket } from '../support/bucket.ts'
import type { S3Account } from '../support/ceph.ts'
import { run } from './measure.ts'
import { presign } from './presign.ts'

const REMOVALS_AT_ONCE = 16

/** Prefix of objects that several tools get. */
export const PLAIN = 'plain'

/** The key of a load as such an object, or of its folder. */
export const plainKey = ({ slug }: { slug: string }) => `${PLAIN}/${slug}`

/** A store with an empty bucket. */
export interface Store extends AsyncDisposable {
  readonly account: S3Account
  /** Root of its processes; `undefined` when it was not started here. */
  readonly pid: number | undefined
  /** For people. */
  readonly title: string
  /** For curl, that knows no signatures: a request that anyone may send for an hour. */
  presign(method: 'GET' | 'PUT', key: string): string
  /** Runs what lays down an object the first time it is asked for, until its prefix is cleared. */
  lay(key: string, put: () => Promise<unknown>): Promise<unknown>
  /** Removes all objects below a prefix and lets the store forget them now. */
  clear(prefix: string): Promise<void>
}

export interface StoreOptions {
  gib: number
  host?: string
  /** Folder for objects, instead of memory. */
  disk?: string
}

const Ready = z.object({
  endpoint: z.string(),
  accessKeyId: z.string(),
  secretAccessKey: z.string(),
  conf: z.string(),
})

/** Starts a Ceph with an empty bucket in a process of its own, which dies with this one. */
export async function startStore({ gib, host, disk }: StoreOptions): Promise<Store> {
  const program = join(import.meta.dirname, '..', 'support', 'ceph-node.ts')
  const flags = ['--gib', String(gib), ...(host === undefined ? [] : ['--host', host])]
  const place = disk === undefined ? [] : ['--disk', disk]
  const node = spawn(process.execPath, [program, ...flags, ...place], {
    stdio: ['pipe', 'pipe', 'inherit'],
    detached: true,
  })
  const ended = once(node, 'exit')
  await using stack = new AsyncDisposableStack()
  stack.defer(async () => {
    node.stdin.end()
    await ended
  })
  const [line] = await Promise.race([
    once(createInterface(node.stdout), 'line'),
    ended.then(([code]) => {
      throw new Error(`Cannot start Ceph: it ended with ${code}`)
    }),
  ])
  const { conf, ...ready } = Ready.parse(JSON.parse(String(line)))
  const account = { ...ready, region: 'us-east-1', bucket: 'bench' }
  const collect = async () => {
    const words = ['-c', conf, '-n', 'client.rgw', 'gc', 'process', '--include-all']
    await run({ words: ['radosgw-admin', ...words] })
  }
  const bucket = stack.use(openBucket(account, ''))
  await bucket.client.send(new CreateBucketCommand({ Bucket: account.bucket }))
  const [version = ''] = (await run({ words: ['radosgw', '--version'] })).split(' (')
  const title = `${version.replace('ceph version', 'Ceph RGW')}, ${disk === undefined ? 'memstore' : 'bluestore in a file'}`
  return describeStore({ account, pid: node.pid, title, collect }, stack.move())
}

/** A store that runs already; its keys come from the environment, as `AWS_*` variables. */
export function useStore({ endpoint, bucket }: { endpoint: string; bucket: string }): Store {
  const {
    AWS_ACCESS_KEY_ID: accessKeyId = '',
    AWS_SECRET_ACCESS_KEY: secretAccessKey = '',
    AWS_REGION: region = 'us-east-1',
  } = process.env
  const account = { endpoint, region, bucket, accessKeyId, secretAccessKey }
  const about = { account, pid: undefined, title: endpoint, collect: async () => undefined }
  return describeStore(about, new AsyncDisposableStack())
}

interface About extends Pick<Store, 'account' | 'pid' | 'title'> {
  collect: () => Promise<void>
}

function describeStore({ collect, ...about }: About, stack: AsyncDisposableStack): Store {
  const laid = new Map<string, Promise<unknown>>()
  return {
    ...about,
    lay(key, put) {
      const known = laid.get(key) ?? put()
      laid.set(key, known)
      return known
    },
    presign: (method, key) => presign(about.account, method, key),
    async clear(prefix) {
      for (const key of laid.keys()) if (key.startsWith(`${prefix}/`)) laid.delete(key)
      const bucket = openBucket(about.account, prefix)
      try {
        await removeAll(bucket)
      } finally {
        bucket[Symbol.dispose]()
      }
      await collect()
    },
    [Symbol.asyncDispose]: () => stack.disposeAsync(),
  }
}

/** A listing has a thousand keys at most. */
async function removeAll(bucket: Bucket): Promise<void> {
  const limit = pLimit(REMOVALS_AT_ONCE)
  for (;;) {
    const keys = await bucket.listKeys()
    if (keys.length === 0) return
    await Promise.all(keys.map((key) => limit(() => bucket.remove(key))))
  }
}
