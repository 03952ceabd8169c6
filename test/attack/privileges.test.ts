import { inject } from 'vitest'
import { describePrivileges } from './privileges-suite.ts'

describePrivileges(() => inject('postgres'))
