// What a Relay application asks for: objects by their ids, pages that go on, objects beside ids, a feed.
import { graphql } from "relay-runtime";

import type { documentsJobs_project$data } from "./.generated/documentsJobs_project.graphql";
import type { documentsNodeQuery$data } from "./.generated/documentsNodeQuery.graphql";

// Refetching by `node(id:)`: Relay's compiler writes the query of it.
export const job = graphql`
  fragment documentsJob_job on Job @refetchable(queryName: "documentsJobRefetchQuery") {
    id
    name
    state
    queuedAt
    position
    specification
    owner {
      id
      username
    }
    dataset {
      id
      name
    }
    baseModel {
      id
      name
    }
  }
`;

// Pages below a node.
export const experiments = graphql`
  fragment documentsJobs_project on Project
  @refetchable(queryName: "documentsJobsPaginationQuery")
  @argumentDefinitions(count: { type: "Int", defaultValue: 25 }, cursor: { type: "String" }) {
    id
    name
    owner {
      username
    }
    experiments(first: $count, after: $cursor) @connection(key: "documentsJobs_project__experiments") {
      edges {
        node {
          id
          name
          createdBy {
            username
          }
        }
      }
    }
  }
`;

// Pages of a list of the root.
export const jobs = graphql`
  fragment documentsJobs_query on Query
  @refetchable(queryName: "documentsAllJobsPaginationQuery")
  @argumentDefinitions(count: { type: "Int", defaultValue: 100 }, cursor: { type: "String" }) {
    jobs(first: $count, after: $cursor) @connection(key: "documentsJobs_query__jobs") {
      totalCount
      edges {
        node {
          ...documentsJob_job
        }
      }
    }
  }
`;

export const project = graphql`
  query documentsProjectQuery($id: ID!, $count: Int) {
    project(id: $id) {
      ...documentsJobs_project @arguments(count: $count)
    }
    ...documentsJobs_query
  }
`;

export const node = graphql`
  query documentsNodeQuery($id: ID!) {
    node(id: $id) {
      __typename
      id
      ... on Project {
        name
      }
      ... on Job {
        name
        jobState: state
      }
      ... on Worker {
        name
        workerState: state
      }
      ... on User {
        username
      }
    }
  }
`;

export const create = graphql`
  mutation documentsCreateProjectMutation($input: CreateProjectInput!) {
    createProject(input: $input) {
      project {
        id
        name
      }
      position
      userErrors {
        path
        code
        message
      }
    }
  }
`;

// All kinds of items at once: what they share has one type.
export const feed = graphql`
  subscription documentsJobFeedSubscription($job: ID!, $after: Long) {
    jobFeed(jobId: $job, after: $after) {
      __typename
      ... on JobSnapshot {
        position
        job {
          ...documentsJob_job
        }
      }
      ... on JobDelta {
        position
        at
        state
        attempt
        message
      }
      ... on JobMetricBatch {
        position
        at
        step
        points {
          step
          loss
        }
      }
      ... on JobLogChunk {
        position
        at
        lines {
          level
          message
        }
      }
      ... on FeedGap {
        position
        reason
      }
      ... on FeedHeartbeat {
        position
      }
      ... on FeedEnd {
        position
        state
        reason
      }
    }
  }
`;

// The types say what may be null.
export function names(page: documentsJobs_project$data): string[] {
  const edges = page.experiments?.edges ?? [];
  return edges.map((edge) => `${edge.node.name} by ${edge.node.createdBy?.username ?? "somebody"}`);
}

export function kind(answer: documentsNodeQuery$data): string | undefined {
  return answer.node?.id;
}
