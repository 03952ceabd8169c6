/** The S3 store against a gateway in a container: the same contract. */
import { it } from 'vitest'
import { describeStoreContract } from '../contract/store.ts'
import { findS3Image, startPostgresContainer, startS3Container } from '../support/containers.ts'
import { createDatabase, prepareCluster } from '../support/postgres-cluster.ts'
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
    await using stack = new AsyncDisposableStack()
    const { adminUrl } = stack.use(await startPostgresContainer())
    const { cluster } = stack.use(await prepareCluster(adminUrl))
    const { stop, ...account } = await startS3Container(image)
    stack.defer(stop)
    const subject = stack.use(await openS3Subject(account, () => createDatabase(cluster)))
    const held = stack.move()
    return { ...subject, [Symbol.asyncDispose]: () => held.disposeAsync() }
  })
}
