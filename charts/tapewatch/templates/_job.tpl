{{/* The pod of a job that runs one command line: root, component, args. */}}
{{- define "tapewatch.jobPod" -}}
{{- $ := .root -}}
metadata:
  labels: {{- include "tapewatch.labels" $ | nindent 4 }}
    app.kubernetes.io/component: {{ .component }}
spec:
  # a pod that failed stays, and with it what it said
  restartPolicy: Never
  automountServiceAccountToken: false
  {{- include "tapewatch.pullSecrets" $ | nindent 2 }}
  securityContext: {{- include "tapewatch.podSecurity" (dict "uid" 10001) | nindent 4 }}
  initContainers:
    {{- include "tapewatch.kernels" $ | nindent 4 }}
  containers:
    - name: {{ .component }}
      image: {{ include "tapewatch.image" $ }}
      imagePullPolicy: {{ $.Values.image.pullPolicy }}
      command: [tapewatch]
      args: {{- toYaml .args | nindent 8 }}
      env:
        {{- include "tapewatch.env" $ | nindent 8 }}
        {{- with $.Values.settings.retention_days }}
        - {name: TAPEWATCH_RETENTION_DAYS, value: {{ . | quote }}}
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
