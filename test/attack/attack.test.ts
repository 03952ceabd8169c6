import { inject } from 'vitest'
import { describeAttacks } from './attack-suite.ts'

describeAttacks(() => inject('postgres'))
