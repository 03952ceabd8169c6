/**
 * The endpoints as a client needs them: those of a kind when the first of them is called, since schemas
 * take time to make, and most commands call endpoints of one kind.
 */
import type { Endpoints } from '../schemas/api.ts'

const artifacts = async () => (await import('../schemas/artifact-endpoints.ts')).artifactEndpoints
const contents = async () => (await import('../schemas/content-endpoints.ts')).contentEndpoints
const log = async () => (await import('../schemas/log-endpoints.ts')).logEndpoints
const runs = async () => (await import('../schemas/run-endpoints.ts')).runEndpoints
const tokens = async () => (await import('../schemas/token-endpoints.ts')).tokenEndpoints
const uploads = async () => (await import('../schemas/upload-endpoints.ts')).uploadEndpoints

const loaders: { [N in keyof Endpoints]: () => Promise<Endpoints[N]> } = {
  openUpload: async () => (await uploads()).openUpload,
  listUploads: async () => (await uploads()).listUploads,
  getUpload: async () => (await uploads()).getUpload,
  abortUpload: async () => (await uploads()).abortUpload,
  requestGrants: async () => (await uploads()).requestGrants,
  reportProgress: async () => (await uploads()).reportProgress,
  sealUpload: async () => (await uploads()).sealUpload,
  sealBatch: async () => (await uploads()).sealBatch,
  watchEvents: async () => (await uploads()).watchEvents,
  listTasks: async () => (await runs()).listTasks,
  listRuns: async () => (await runs()).listRuns,
  allotRun: async () => (await runs()).allotRun,
  listArtifacts: async () => (await runs()).listArtifacts,
  getArtifact: async () => (await artifacts()).getArtifact,
  getArtifactParts: async () => (await artifacts()).getArtifactParts,
  listVerifications: async () => (await artifacts()).listVerifications,
  getContent: async () => (await contents()).getContent,
  getDelivery: async () => (await contents()).getDelivery,
  getContents: async () => (await contents()).getContents,
  getChecksums: async () => (await contents()).getChecksums,
  getReceipt: async () => (await log()).getReceipt,
  getStatements: async () => (await log()).getStatements,
  makeStatement: async () => (await log()).makeStatement,
  getLog: async () => (await log()).getLog,
  makeSignInLink: async () => (await tokens()).makeSignInLink,
  createToken: async () => (await tokens()).createToken,
  listTokens: async () => (await tokens()).listTokens,
  revokeToken: async () => (await tokens()).revokeToken,
}

/** An endpoint by its name in the table. */
export function loadEndpoint<N extends keyof Endpoints>(name: N): Promise<Endpoints[N]> {
  return loaders[name]()
}
