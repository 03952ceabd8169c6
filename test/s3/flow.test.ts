/** The whole way over a real S3 gateway. */
import { getTestS3 } from '../support/ceph.ts'
import { createRealDatabase } from '../support/real-database.ts'
import { describeFlow } from './flow.ts'

describeFlow('over S3', async () => ({ ...(await createRealDatabase()), s3: getTestS3() }))
