/**
 * The contract of `server/stores/store.ts`, as tests. Every store is held to all of it.
 */
import { afterAll, beforeAll, describe } from 'vitest'
import { describeCompleting, describeDiscarding } from './completing.ts'
import { describeKeeping } from './keeping.ts'
import { describeDigesting, describeReadGrants, describeReading } from './reading.ts'
import { describeRefusing, describeReplaying, describeTampering } from './refusing.ts'
import { describeSharing } from './sharing.ts'
import type { Subject } from './subject.ts'

/** Runs the contract against the store that `open` gives. */
export function describeStoreContract(name: string, open: () => Promise<Subject>): void {
  describe(`contract of the ${name} store`, () => {
    let subject: Subject
    beforeAll(async () => {
      subject = await open()
    })
    afterAll(async () => {
      await subject?.[Symbol.asyncDispose]()
    })
    const get = () => subject
    describeKeeping(get)
    describeRefusing(get)
    describeTampering(get)
    describeReplaying(get)
    describeCompleting(get)
    describeDiscarding(get)
    describeReading(get)
    describeDigesting(get)
    describeReadGrants(get)
    describeSharing(get)
  })
}
