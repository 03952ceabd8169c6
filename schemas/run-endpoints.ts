/** Endpoints that list what is recorded, and allot runs. See `api.ts`. */

import { z } from 'zod'
import type { Endpoint } from './endpoint.ts'
import { inRun, inTask, Limit, NamePart, RunText } from './parameters.ts'
import { AllotRun, ArtifactPage, Run, RunPage, TaskPage } from './run.ts'

export const runEndpoints = {
  listTasks: {
    method: 'GET',
    path: '/v1/tasks',
    summary: 'Tasks by name',
    access: 'list',
    query: z.strictObject({
      prefix: NamePart.max(128).optional(),
      after: NamePart.max(128).optional(),
      limit: Limit,
    }),
    replies: { 200: TaskPage },
    errors: [],
  },
  listRuns: {
    method: 'GET',
    path: '/v1/tasks/:task/runs',
    summary: 'Runs of a task, the latest first',
    access: 'list',
    params: inTask,
    query: z.strictObject({ after: RunText.optional(), limit: Limit }),
    replies: { 200: RunPage },
    errors: ['not_found'],
  },
  allotRun: {
    method: 'POST',
    path: '/v1/tasks/:task/runs',
    summary: 'Allot the next run',
    access: 'upload',
    params: inTask,
    body: AllotRun,
    replies: { 200: Run, 201: Run },
    errors: ['forbidden', 'runs_exhausted', 'upload_conflict'],
  },
  listArtifacts: {
    method: 'GET',
    path: '/v1/tasks/:task/runs/:run/artifacts',
    summary: 'Sealed artifacts of a run, by name',
    access: 'list',
    params: inRun,
    query: z.strictObject({
      prefix: NamePart.max(512).optional(),
      after: NamePart.max(512).optional(),
      limit: Limit,
    }),
    replies: { 200: ArtifactPage },
    errors: ['not_found'],
  },
} as const satisfies Record<string, Endpoint>
