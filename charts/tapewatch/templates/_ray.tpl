{{/* The spec of a Ray pod: root, container, resources, of a worker stream (it writes checkpoints) and serve. */}}
{{- define "tapewatch.rayPod" -}}
{{- $ := .root -}}
enableServiceLinks: false
serviceAccountName: {{ include "tapewatch.fullname" $ }}
# the autoscaler beside the head has a token of its own
automountServiceAccountToken: false
{{- include "tapewatch.everyPod" $ }}
{{- with $.Values.priorityClassName }}
priorityClassName: {{ . | quote }}
{{- end }}
{{- if $.Values.topologySpread.enabled }}
topologySpreadConstraints:
  {{- range list "topology.kubernetes.io/zone" "kubernetes.io/hostname" }}
  - maxSkew: 1
    topologyKey: {{ . }}
    whenUnsatisfiable: ScheduleAnyway
    labelSelector: {matchLabels: {app.kubernetes.io/instance: {{ $.Release.Name | quote }}, app.kubernetes.io/component: worker}}
  {{- end }}
{{- end }}
{{- if and .stream $.Values.persistence.enabled (eq $.Values.persistence.accessMode "ReadWriteOnce") }}
# the volume is on one node: what takes over starts beside what it takes over from
affinity:
  podAffinity:
    requiredDuringSchedulingIgnoredDuringExecution:
      - topologyKey: kubernetes.io/hostname
        labelSelector:
          matchLabels: {app.kubernetes.io/instance: {{ $.Release.Name | quote }}}
          matchExpressions: [{key: ray.io/group, operator: In, values: {{ include "tapewatch.streams" $ }}}]
{{- end }}
terminationGracePeriodSeconds: {{ $.Values.terminationGracePeriodSeconds }}
securityContext: {{- include "tapewatch.podSecurity" (dict "uid" 10001) | nindent 2 }}
initContainers:
  {{- include "tapewatch.kernels" $ | nindent 2 }}
containers:
  - name: {{ .container }}
    image: {{ include "tapewatch.image" $ | quote }}
    imagePullPolicy: {{ $.Values.image.pullPolicy }}
    securityContext: {{- include "tapewatch.containerSecurity" $ | nindent 6 }}
    terminationMessagePolicy: FallbackToLogsOnError
    resources: {{- toYaml .resources | nindent 6 }}
    env:
      {{- include "tapewatch.env" $ | nindent 6 }}
      # workers' logs reach stdout; Ray's own statistics and its dashboard's access lines do not
      - {name: RAY_LOG_TO_STDERR, value: "1"}
      - {name: RAY_BACKEND_LOG_LEVEL, value: warning}
      - {name: RAY_LOGGER_LEVEL, value: warning}
      - {name: RAY_event_stats, value: "0"}
      - {name: RAY_debug_dump_period_milliseconds, value: "0"}
    {{- if and .stream $.Values.sinks.existingSecret }}
    envFrom: [{secretRef: {name: {{ $.Values.sinks.existingSecret | quote }}}}]
    {{- end }}
    ports:
      {{- if eq .container "ray-head" }}
      - {name: gcs-server, containerPort: 6379}
      - {name: dashboard, containerPort: 8265}
      - {name: client, containerPort: 10001}
      - {name: hub, containerPort: {{ $.Values.monitoring.metrics.port }}}
      - {name: as-metrics, containerPort: 44217}
      - {name: dash-metrics, containerPort: 44227}
      {{- end }}
      {{- if or .serve (eq .container "ray-head") }}
      - {name: serve, containerPort: 8000}
      {{- end }}
      - {name: metrics, containerPort: 8080}
    {{- if and .serve (eq .container "ray-worker") }}
    # KubeRay's own takes a worker from the Service at the first answer later than two seconds: one loaded for a moment
    readinessProbe:
      exec: {command: [sh, -c, "wget -q -t 1 -T 4 -O - http://localhost:52365/api/healthz | grep -q success && wget -q -t 1 -T 4 -O - http://localhost:8000/-/healthz | grep -q success"]}
      timeoutSeconds: 5
      periodSeconds: 5
      failureThreshold: 3
    {{- else if eq .container "ray-worker" }}
    # KubeRay's own asks for Serve's proxy too, which runs where a replica does; Ray's agent listens here
    readinessProbe: {httpGet: {path: /api/healthz, port: 52365}, timeoutSeconds: 2, periodSeconds: 5, failureThreshold: 10}
    {{- end }}
    {{- if eq .container "ray-worker" }}
    # feeds send on what they took, shards write their checkpoints
    lifecycle: {preStop: {exec: {command: [tapewatch, drain, "--within={{ sub (int $.Values.terminationGracePeriodSeconds) 30 }}"]}}}
    {{- end }}
    volumeMounts:
      {{- include "tapewatch.scratchMounts" $ | nindent 6 }}
      - {name: shm, mountPath: /dev/shm}
      - {name: data, mountPath: /data}
volumes:
  {{- include "tapewatch.scratch" $ | nindent 2 }}
  - {name: shm, emptyDir: {medium: Memory, sizeLimit: {{ add ($.Values.ray.objectStoreBytes | int64) 67108864 }}}}
  {{- if and (eq .container "ray-head") $.Values.ray.autoscaling }}
  - name: api
    projected:
      sources:
        - serviceAccountToken: {path: token}
        - configMap: {name: kube-root-ca.crt, items: [{key: ca.crt, path: ca.crt}]}
        - downwardAPI: {items: [{path: namespace, fieldRef: {fieldPath: metadata.namespace}}]}
  {{- end }}
  {{- if and .stream $.Values.persistence.enabled }}
  - {name: data, persistentVolumeClaim: {claimName: {{ include "tapewatch.fullname" $ }}-checkpoints}}
  {{- else }}
  - {name: data, emptyDir: {sizeLimit: 1Gi}}
  {{- end }}
{{- end -}}
