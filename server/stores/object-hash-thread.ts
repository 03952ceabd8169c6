/**
 * The thread that hashes objects of a bucket. It holds no credentials: what it asks of the store is
 * signed for it, one range of one object at a time.
 */
import { parentPort, workerData } from 'node:worker_threads'
import { NotForThreads, serveHashJobs } from './hash-jobs.ts'
import { createReadAhead, type RangeOpener } from './long-read.ts'
import type { ObjectThreadData, ObjectToHash, SignAnswer, SignQuestion } from './object-hash.ts'
import { readOn } from './resumed-read.ts'
import { getObjectInBulk, type ReadSigner } from './s3-bulk-read.ts'
import type { SignedRead } from './s3-signing.ts'

const asked = new Map<number, PromiseWithResolvers<SignedRead>>()
let questions = 0

const signer: ReadSigner = {
  signRead(key, headers) {
    const answer = Promise.withResolvers<SignedRead>()
    const question: SignQuestion = { number: questions++, key, headers }
    asked.set(question.number, answer)
    parentPort?.postMessage({ question })
    return answer.promise
  },
}

function hearSigned(answer: SignAnswer): void {
  const waiting = asked.get(answer.number)
  asked.delete(answer.number)
  if ('error' in answer) waiting?.reject(answer.error)
  else waiting?.resolve({ url: new URL(answer.url), headers: answer.headers })
}

const { pace, ahead: settings, counts }: ObjectThreadData = workerData
const ahead = createReadAhead(settings, counts)

serveHashJobs<ObjectToHash, SignAnswer>(({ key, tag }, signal) => {
  const opener: RangeOpener = {
    async open(range) {
      const body = await getObjectInBulk(signer, key, tag, range, { pace })
      // The SDK has the words for whatever was answered.
      if (body === undefined) throw new NotForThreads()
      return body
    },
    openAhead: (range, hold) => getObjectInBulk(signer, key, tag, range, { pace, hold }),
  }
  const readFrom = (start: bigint) => ahead.read(opener, { start, end: undefined, signal })
  return readOn(readFrom, 0n, pace, signal)
}, hearSigned)
