/** Where the parts of an installation find each other. The units, sysusers.d and tmpfiles.d in etc/ name the same paths. */

/** Directory of the control socket and of the feeds' sockets; mode 0755, so that the group of each socket decides. */
export const RUNTIME_DIRECTORY = "/run/mailreportd";

/** File name of the control socket in the runtime directory. */
export const CONTROL_SOCKET = "control.sock";
