{{/* The pod of a job that runs one command line: root, component, args. It is told what that command needs, no more. */}}
{{- define "tapewatch.jobPod" -}}
{{- $ := .root -}}
metadata:
  labels: {{- include "tapewatch.podLabels" (dict "root" $ "component" .component) | nindent 4 }}
spec:
  # a pod that failed stays, and with it what it said
  restartPolicy: Never
  automountServiceAccountToken: false
  {{- include "tapewatch.everyPod" $ | nindent 2 }}
  securityContext: {{- include "tapewatch.podSecurity" (dict "uid" 10001) | nindent 4 }}
  initContainers:
    {{- include "tapewatch.kernels" $ | nindent 4 }}
  containers:
    - name: {{ .component }}
      image: {{ include "tapewatch.image" $ | quote }}
      imagePullPolicy: {{ $.Values.image.pullPolicy }}
      command: [tapewatch]
      args: {{- toYaml .args | nindent 8 }}
      env:
        {{- include "tapewatch.databaseEnv" $ | nindent 8 }}
        {{- with $.Values.settings.retention_days }}
        - {name: TAPEWATCH_RETENTION_DAYS, value: {{ . | quote }}}
        {{- end }}
        {{- if eq .component "backfill" }}
        {{- include "tapewatch.vendorEnv" $ | nindent 8 }}
        {{- with dig "polygon" "rest_url" "" $.Values.settings }}
        - {name: POLYGON_REST_URL, value: {{ . | quote }}}
        {{- end }}
        {{- with $.Values.settings.universe }}
        - {name: TAPEWATCH_UNIVERSE, value: {{ toJson . | quote }}}
        {{- end }}
        {{- end }}
      securityContext: {{- include "tapewatch.containerSecurity" $ | nindent 8 }}
      terminationMessagePolicy: FallbackToLogsOnError
      resources: {requests: {cpu: 100m, memory: 256Mi}, limits: {cpu: "1", memory: 2Gi}}
      volumeMounts:
        {{- include "tapewatch.scratchMounts" $ | nindent 8 }}
        - {name: data, mountPath: /data}
  volumes:
    {{- include "tapewatch.scratch" $ | nindent 4 }}
    - {name: data, emptyDir: {sizeLimit: 1Gi}}
{{- end -}}
{{/* The pod of a job that changes how many workers run: root, order, groups. */}}
{{- define "tapewatch.workersPod" -}}
{{- $ := .root -}}
metadata:
  labels: {{- include "tapewatch.podLabels" (dict "root" $ "component" "workers") | nindent 4 }}
spec:
  restartPolicy: Never
  serviceAccountName: {{ include "tapewatch.fullname" $ }}-workers
  automountServiceAccountToken: true
  {{- include "tapewatch.everyPod" $ | nindent 2 }}
  securityContext: {{- include "tapewatch.podSecurity" (dict "uid" 10001) | nindent 4 }}
  containers:
    - name: workers
      image: {{ include "tapewatch.image" $ | quote }}
      imagePullPolicy: {{ $.Values.image.pullPolicy }}
      command: {{ concat (list "workers" .order $.Release.Namespace (include "tapewatch.fullname" $)) .groups | toJson }}
      securityContext: {{- include "tapewatch.containerSecurity" $ | nindent 8 }}
      terminationMessagePolicy: FallbackToLogsOnError
      resources: {requests: {cpu: 50m, memory: 64Mi}, limits: {cpu: 500m, memory: 128Mi}}
{{- end -}}
