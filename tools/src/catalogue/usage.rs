//! E1xxx: the command line and the configuration.

use super::entries;

entries! {
    COMMAND_LINE { code: "E1001", title: "the command line cannot be understood", exit: Usage,
        fix: ["quorate --help lists the verbs; quorate <verb> --help their flags, with examples"],
        explanation: "A verb, a flag or a value is not one that Quorate knows, or one that it needs is missing. \
            Nothing was tried and nothing was changed. Flags may also come from environment variables, which \
            --help names: a wrong value there is reported in the same way." }
    VALUES_CONTRADICT { code: "E1002", title: "two settings contradict each other", exit: Usage,
        fix: ["change one of the two; quorate <verb> --help says what each means"],
        explanation: "Each value is possible by itself, together they are not: for example a node that is \
            not among the nodes of its cluster, or fewer clients than groups. Nothing was tried and nothing was changed." }
    CONFIGURATION { code: "E1003", title: "the configuration cannot be used", exit: Usage,
        fix: ["correct the named key; an unknown key is refused so that a typing error cannot go unnoticed"],
        explanation: "A configuration file could not be read, is not valid TOML, holds a key that Quorate does \
            not know, or a value out of its range. The message names the file and the key. The node does not \
            start with half a configuration." }
    UNKNOWN_CODE { code: "E1004", title: "there is no error of that code", exit: Usage,
        fix: ["quorate explain lists all codes"],
        explanation: "Codes are the letter E and four digits, as printed in brackets behind the word error. A \
            code that this version does not know may come from a newer one: ask the binary that printed it." }
    UNKNOWN_TOPIC { code: "E1005", title: "there are no examples on that topic", exit: Usage,
        fix: ["quorate examples lists the topics"],
        explanation: "Examples are grouped by topic, and built into the binary, so that they fit its version. \
            Asked without a topic, the verb prints all of them, each under the name of its topic." }
    DOOR_TO_THE_WORLD { code: "E1006", title: "the door for TigerBeetle clients would be open to the world", exit: Usage,
        fix: ["listen on the loopback:  --tigerbeetle 127.0.0.1:3000",
              "or, behind a firewall or a tunnel that lets in nobody but your own:  --tigerbeetle-anywhere"],
        explanation: "TigerBeetle's client protocol has no authentication and no encryption: whoever reaches the \
            port can create accounts and move money, and whoever is on the way can read and change all of it. \
            So the door opens on the loopback unless it is said that another address is meant." }
}
