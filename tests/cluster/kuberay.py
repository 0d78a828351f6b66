"""The fields of a KubeRay RayCluster (ray.io/v1) that deploy/kuberay.yaml uses; its pods are Kubernetes' own types."""

from __future__ import annotations

from kubernetes.client import models
from pydantic import BaseModel, ConfigDict


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True)


class HeadGroup(_Strict):
    serviceType: str
    rayStartParams: dict[str, str]
    template: models.V1PodTemplateSpec


class WorkerGroup(_Strict):
    groupName: str
    replicas: int
    minReplicas: int
    maxReplicas: int
    rayStartParams: dict[str, str]
    template: models.V1PodTemplateSpec


class Spec(_Strict):
    rayVersion: str
    headGroupSpec: HeadGroup
    workerGroupSpecs: list[WorkerGroup]


class RayCluster(_Strict):
    apiVersion: str
    kind: str
    metadata: models.V1ObjectMeta
    spec: Spec
