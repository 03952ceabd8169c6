/** The S3 store against a gateway in a container: the same contract. */
import { it } from 'vitest'
import { describeStoreContract } from '../contract/store.ts'
import { findS3Image, startS3Container } from '../support/containers.ts'
import { openS3Subject } from './s3-subject.ts'

const image = findS3Image()

if (image === undefined) {
  it('keeps the contract against an S3 image', (context) => {
    const reason = 'ARTIFACT_TEST_S3_IMAGE is not set'
    if ((process.env.CI ?? '') !== '') throw new Error(`Cannot run: ${reason}`)
    context.skip(reason)
  })
} else {
  describeStoreContract('S3 (container)', async () => {
    const { stop, ...account } = await startS3Container(image)
    const subject = await openS3Subject(account).catch(async (error) => {
      await stop()
      throw error
    })
    return {
      ...subject,
      async [Symbol.asyncDispose]() {
        await subject[Symbol.asyncDispose]()
        await stop()
      },
    }
  })
}
