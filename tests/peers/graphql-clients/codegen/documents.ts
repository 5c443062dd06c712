// What a client with typed documents asks for.
import { graphql } from "./.generated";
import type { DocumentNodeAnswer } from "./answers";

export const nodes = graphql(`
  query Node($id: ID!) {
    node(id: $id) {
      __typename
      id
      ... on Dataset {
        name
        versions {
          version
          bytes
          createdAt
        }
      }
      ... on Session {
        device
        current
      }
    }
  }
`);

export const page = graphql(`
  query Jobs($first: Int, $after: String, $filter: JobFilter, $order: JobOrder) {
    jobs(first: $first, after: $after, filter: $filter, order: $order) {
      totalCount
      nodes {
        id
        name
        state
        specification
        owner {
          username
        }
      }
      pageInfo {
        hasNextPage
        endCursor
      }
    }
  }
`);

export const history = graphql(`
  query History($filter: AuditFilter, $after: String) {
    auditLog(filter: $filter, first: 100, after: $after) {
      nodes {
        position
        at
        kind
        requestId
        data
      }
      pageInfo {
        endCursor
      }
    }
  }
`);

export const start = graphql(`
  mutation Start($input: StartJobInput!) {
    startJob(input: $input) {
      job {
        id
        position
      }
      userErrors {
        path
        code
        message
      }
    }
  }
`);

export const feed = graphql(`
  subscription Feed($job: ID!, $after: Long) {
    jobFeed(jobId: $job, after: $after) {
      __typename
      ... on JobDelta {
        position
        state
      }
      ... on JobMetricBatch {
        position
        points {
          step
          loss
        }
      }
      ... on FeedEnd {
        position
        state
        reason
      }
    }
  }
`);

export function names(answer: DocumentNodeAnswer<typeof page>): string[] {
  return answer.jobs?.nodes.map((job) => `${job.name}: ${job.owner?.username ?? "somebody"}`) ?? [];
}
